# SPDX-License-Identifier: Apache-2.0
dist_noinst_DATA += docs/architecture.md docs/contributing.md docs/tutorial.md docs/administrators.md docs/security.md \
    docs/protocol-agent.md docs/protocol-guest.md

# Man pages: docs/NAME.SECTION.adoc, one a noun and file format. A noun's page includes
# its verbs and options from the program's own tables: include::{gen}/NOUN.adoc[].
# Add yours to the list of its section; test/t0301-docs.t wants one for every noun.
man1_adoc = docs/lodge.1.adoc docs/lodge-ckpt.1.adoc docs/lodge-cluster.1.adoc docs/lodge-events.1.adoc docs/lodge-explain.1.adoc \
    docs/lodge-image.1.adoc docs/lodge-node.1.adoc docs/lodge-op.1.adoc \
    docs/lodge-profile.1.adoc docs/lodge-run.1.adoc docs/lodge-site.1.adoc docs/lodge-store.1.adoc \
    docs/lodge-ticket.1.adoc docs/lodge-vm.1.adoc
man5_adoc = docs/lodge-image.5.adoc docs/lodge-cluster.5.adoc docs/lodge-profile.5.adoc docs/lodge.conf.5.adoc
man8_adoc = docs/lodge-agent.8.adoc docs/lodged.8.adoc docs/lodge-exec.8.adoc docs/lodge-guest.8.adoc \
    docs/lodge-vmm.8.adoc
man3_adoc = docs/lodge.3.adoc
man_adoc = $(man1_adoc) $(man3_adoc) $(man5_adoc) $(man8_adoc)
EXTRA_DIST += $(man_adoc)
man_MANS += $(man_adoc:.adoc=)
CLEANFILES += $(man_adoc:.adoc=)

docs/gen.stamp: lodge$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) docs/gen && for n in `./lodge __doc` common status nouns conf; do \
	    ./lodge __doc $$n >docs/gen/$$n.adoc || exit 1; done && \
	    cat docs/gen/*.adoc | cksum >docs/gen.new && \
	    if cmp -s docs/gen.new docs/gen.sum; then rm docs/gen.new; \
	    else mv docs/gen.new docs/gen.sum; fi && touch $@
# Pages are made again only when the tables have changed, not with each new program.
docs/gen.sum: docs/gen.stamp
	@:
CLEANFILES += docs/gen.stamp docs/gen.sum
clean-local: docs-clean
docs-clean:
	rm -rf docs/gen
.PHONY: docs-clean
SUFFIXES = .1 .3 .5 .8 .1.adoc .3.adoc .5.adoc .8.adoc
MANPAGE = $(AM_V_GEN)$(MKDIR_P) docs && $(ASCIIDOCTOR) -b manpage -a gen=$(abs_builddir)/docs/gen \
    -a version='$(VERSION)' -a manmanual=Lodge -a mansource='lodge $(VERSION)' \
    -a reproducible --failure-level=WARN -o $@
.1.adoc.1:
	$(MANPAGE) $<
.3.adoc.3:
	$(MANPAGE) $<
.5.adoc.5:
	$(MANPAGE) $<
.8.adoc.8:
	$(MANPAGE) $<
$(man1_adoc:.adoc=) docs/lodge.conf.5: docs/gen.sum
dist_noinst_DATA += docs/performance.md docs/format-checkpoint.md docs/formats.md
dist_check_SCRIPTS += test/t0305-guides.t
TESTS += test/t0305-guides.t
