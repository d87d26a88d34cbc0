# SPDX-License-Identifier: Apache-2.0
# Units for machines that systemd runs; everything also runs without.
systemdsystemunit_DATA = systemd/lodge-agent.service systemd/lodged.service
tmpfilesdir = $(prefix)/lib/tmpfiles.d
tmpfiles_DATA = systemd/lodge.conf
EXTRA_DIST += systemd/lodge-agent.service.in systemd/lodged.service.in systemd/lodge.tmpfiles
CLEANFILES += $(systemdsystemunit_DATA) $(tmpfiles_DATA)


make_unit = $(AM_V_GEN)$(MKDIR_P) systemd && sed -e 's,@pkglibexecdir\@,$(pkglibexecdir),' \
    -e 's,@sbindir\@,$(sbindir),'
systemd/lodge-agent.service: $(srcdir)/systemd/lodge-agent.service.in Makefile
	$(make_unit) $(srcdir)/systemd/lodge-agent.service.in >$@
systemd/lodged.service: $(srcdir)/systemd/lodged.service.in Makefile
	$(make_unit) $(srcdir)/systemd/lodged.service.in >$@
systemd/lodge.conf: $(srcdir)/systemd/lodge.tmpfiles
	$(AM_V_GEN)$(MKDIR_P) systemd && cp $(srcdir)/systemd/lodge.tmpfiles $@

dist_check_SCRIPTS += test/t0306-units.t test/t0307-hardening.t test/t0308-costs.t test/t0309-ckpt-verify.t
TESTS += test/t0306-units.t test/t0307-hardening.t test/t0308-costs.t test/t0309-ckpt-verify.t

# Debian's packages: dpkg-buildpackage -b, from a clone or from the tarball.
EXTRA_DIST += debian/changelog debian/control debian/copyright debian/rules debian/source/format \
    debian/lodge.install debian/lodge-agent.install debian/lodge-guest.install \
    debian/lodge-slurm.install debian/lodge-dev.install debian/lodge-guest.lintian-overrides
