# make            build the programs
# make run        try QOTD out on 127.0.0.1:1717
# make test       all tests; installs what they need first (root on Debian or Ubuntu)
# make install    programs, systemd units and documentation; reloads systemd on a live root
# make uninstall  the opposite
# make lint       format, lints, documentation, scripts
# make bench      the benchmarks, beside their peers
#
# Variables: PREFIX, DESTDIR, unitdir, libexecdir, bindir, docdir.

PREFIX     = /usr/local
DESTDIR    =
bindir     = $(PREFIX)/bin
libexecdir = $(PREFIX)/libexec/small-services
docdir     = $(PREFIX)/share/doc/small-services
unitdir    = $(PREFIX)/lib/systemd/system

CARGO    = cargo
INSTALL  = install
PROGRAMS = qotd echo daytime discard
UNITS    = $(filter %.socket %.service %.slice,$(notdir $(wildcard units/*)))
DOCS     = README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE docs/architecture.md
release  = target/$(shell rustc --print host-tuple)/release

.PHONY: all build run test install uninstall lint bench clean

all build:
	$(CARGO) build --release --locked

run: build
	@$(release)/qotd --listen 127.0.0.1:1717

# Not built here: `make` as yourself, `make install` as root.
install:
	@test -x $(release)/qotd || { echo 'make install: the programs are not built yet; run `make` first' >&2; exit 1; }
	$(INSTALL) -d $(DESTDIR)$(libexecdir) $(DESTDIR)$(bindir) $(DESTDIR)$(unitdir) $(DESTDIR)$(docdir)
	$(INSTALL) -m 755 $(PROGRAMS:%=$(release)/%) $(DESTDIR)$(libexecdir)
	$(INSTALL) -m 755 $(release)/qotd $(DESTDIR)$(bindir)
	$(INSTALL) -m 644 $(DOCS) $(DESTDIR)$(docdir)
	for unit in $(UNITS); do \
		sed -e '/^@hardening@$$/{r units/hardening.conf' -e 'd}' -e '/^@accept@$$/{r units/accept.conf' -e 'd}' "units/$$unit" | \
		sed -e 's|@libexecdir@|$(libexecdir)|g' -e 's|@docdir@|$(docdir)|g' > "$(DESTDIR)$(unitdir)/$$unit" && \
		chmod 644 "$(DESTDIR)$(unitdir)/$$unit" || exit 1; \
	done
	$(reload)

uninstall:
	$(if $(live),-systemctl disable --now $(filter %.socket,$(UNITS)))
	rm -f $(UNITS:%=$(DESTDIR)$(unitdir)/%) $(PROGRAMS:%=$(DESTDIR)$(libexecdir)/%) $(DESTDIR)$(bindir)/qotd
	rm -f $(notdir $(DOCS:%=$(DESTDIR)$(docdir)/%))
	-rmdir $(DESTDIR)$(libexecdir) $(DESTDIR)$(docdir)
	$(reload)

# The live root is the one without DESTDIR on a host that systemd runs.
live   = $(if $(DESTDIR),,$(wildcard /run/systemd/system))
reload = $(if $(live),systemctl daemon-reload)

lint:
	tests/lint

test:
	tests/run

bench:
	benches/run

clean:
	$(CARGO) clean
