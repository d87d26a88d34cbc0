# SPDX-License-Identifier: Apache-2.0
pbsdir = $(libdir)/lodge
dist_pbs_DATA = plugins/pbs/lodge_hook.py
