# SPDX-License-Identifier: Apache-2.0
# LODGE_PKG(PREFIX, MODULE, DEBIAN-PACKAGE)
# Like PKG_CHECK_MODULES, but a miss is only noted in LODGE_MISSING, so that
# configure can name every package to install at once.
AC_DEFUN([LODGE_PKG], [
    PKG_CHECK_MODULES([$1], [$2], [], [LODGE_MISSING="$LODGE_MISSING $3"])
])
