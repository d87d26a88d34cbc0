# SPDX-License-Identifier: Apache-2.0
# LODGE_PKG(PREFIX, MODULE, DEBIAN-PACKAGE)
# Like PKG_CHECK_MODULES, but a miss is only noted in LODGE_MISSING, so that
# configure can name every package to install at once.
AC_DEFUN([LODGE_PKG], [
    PKG_CHECK_MODULES([$1], [$2], [], [LODGE_MISSING="$LODGE_MISSING $3"])
])

# LODGE_VMM_DEVICE(NAME, OPTION, WHAT)
# --disable-OPTION leaves a device out of lodge-vmm; WITH_VMM_NAME tells make and C.
AC_DEFUN([LODGE_VMM_DEVICE], [
    AC_ARG_ENABLE([$2], [AS_HELP_STRING([--disable-$2],
        [leave $3 out of lodge-vmm])], [enable_vmm_$1=$enableval], [enable_vmm_$1=yes])
    AM_CONDITIONAL(m4_toupper([WITH_VMM_$1]),
        [test "x$enable_vmm" = xyes && test "x$enable_vmm_$1" = xyes])
    AS_IF([test "x$enable_vmm" = xyes && test "x$enable_vmm_$1" = xyes],
        [AC_DEFINE(m4_toupper([WITH_VMM_$1]), [1], [lodge-vmm has $3])
         LODGE_VMM_DEVICES="$LODGE_VMM_DEVICES $1"],
        [LODGE_VMM_WITHOUT="$LODGE_VMM_WITHOUT $1"])
])
