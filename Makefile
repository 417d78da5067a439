# make            build the programs
# make run        try QOTD out on 127.0.0.1:1717
# make test       all tests; installs what they need first (root on Debian or Ubuntu)
# make install    programs, systemd units and documentation; reloads systemd on a live root
# make uninstall  the opposite
# make lint       format, lints, documentation, scripts
# make bench      the benchmarks, beside their peers; PLOTS=yes writes docs/benchmarks.md as well
# make fuzz       the fuzz targets, RUNS=10000000 times each
# make attack     the long versions of the tests of attacks, and two builds that have to be the same; writes docs/escapes.md
#                 and docs/floods.md
# make soak       mixed load on all services, for SOAK=300 seconds
# make sbom       what is inside the programs, in CycloneDX's form: target/sbom/small-services.cdx.json
#
# Variables: PREFIX, DESTDIR, unitdir, libexecdir, rootdir, bindir, docdir, datadir, gamesdir.
# `make install FORTUNE=yes` also installs qotd as PREFIX/games/fortune.

PREFIX     = /usr/local
DESTDIR    =
bindir     = $(PREFIX)/bin
libexecdir = $(PREFIX)/libexec/small-services
rootdir    = $(PREFIX)/lib/small-services
docdir     = $(PREFIX)/share/doc/small-services
datadir    = $(PREFIX)/share/small-services
gamesdir   = $(PREFIX)/games
unitdir    = $(PREFIX)/lib/systemd/system

CARGO    = cargo
INSTALL  = install
PROGRAMS = qotd echo daytime discard chargen time
WEB      = lunchd
UNITS    = $(filter %.socket %.service %.slice,$(notdir $(wildcard units/*)))
EXAMPLES = inetd.conf tcpserver $(PROGRAMS:%=xinetd.d/%)
DOCS     = README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE $(wildcard docs/*.md)
# What is mounted in the root directory of a process for one connection; the rest is what systemd makes in every such place.
MOUNTS   = $(libexecdir) /usr/share/games/fortunes /usr/share/zoneinfo /etc /dev /proc /root /run /sys /tmp /var/tmp
release  = target/$(shell rustc --print host-tuple)/release

.PHONY: all build run test install uninstall lint bench fuzz attack soak sbom clean

all build:
	$(CARGO) build --release --locked
	$(CARGO) build --release --locked --features web --bin lunchd

run: build
	@$(release)/qotd --listen 127.0.0.1:1717

# Fills in the lines that stand for a part (@hardening@ for units/parts/hardening.conf) and the paths.
parts = $(patsubst units/parts/%.conf,%,$(wildcard units/parts/*.conf))
fill  = sed $(foreach part,$(parts),-e '/^@$(part)@$$/{r units/parts/$(part).conf' -e 'd}') $(1) | \
	sed -e 's|@libexecdir@|$(libexecdir)|g' -e 's|@rootdir@|$(rootdir)|g' -e 's|@docdir@|$(docdir)|g' > "$(2)" && chmod 644 "$(2)" || exit 1

# Not built here: `make` as yourself, `make install` as root.
install:
	@test -x $(release)/lunchd || { echo 'make install: the programs are not built yet; run `make` first' >&2; exit 1; }
	$(INSTALL) -d $(DESTDIR)$(libexecdir) $(DESTDIR)$(bindir) $(DESTDIR)$(unitdir) $(DESTDIR)$(docdir) \
		$(DESTDIR)$(datadir)/xinetd.d
	$(INSTALL) -d $(addprefix $(DESTDIR)$(rootdir),$(MOUNTS))
	touch $(DESTDIR)$(rootdir)/etc/localtime
	$(INSTALL) -m 755 $(PROGRAMS:%=$(release)/%) $(WEB:%=$(release)/%) $(DESTDIR)$(libexecdir)
	$(INSTALL) -m 755 $(release)/qotd $(release)/small-services $(DESTDIR)$(bindir)
	$(INSTALL) -m 644 $(DOCS) $(DESTDIR)$(docdir)
	@for unit in $(UNITS); do $(call fill,"units/$$unit",$(DESTDIR)$(unitdir)/$$unit); done
	@for example in $(EXAMPLES); do \
		$(call fill,"units/super-servers/$$example",$(DESTDIR)$(datadir)/$$example); \
	done
	chmod 755 $(DESTDIR)$(datadir)/tcpserver
	$(if $(filter yes,$(FORTUNE)),$(INSTALL) -d $(DESTDIR)$(gamesdir) && ln -sf $(bindir)/qotd $(DESTDIR)$(gamesdir)/fortune)
	$(reload)

# Connections in progress end as well. The directories that others may use stay.
uninstall:
	$(if $(live),-systemctl disable --now $(filter %.socket,$(UNITS)))
	$(if $(live),-systemctl stop $(patsubst %@.service,'%@*.service',$(filter %@.service,$(UNITS))) \
		$(filter %-daemon.service $(WEB:%=%.service) %.slice,$(UNITS)))
	rm -f $(addprefix $(DESTDIR)$(unitdir)/,$(UNITS))
	rm -f $(addprefix $(DESTDIR)$(libexecdir)/,$(PROGRAMS) $(WEB)) $(addprefix $(DESTDIR)$(bindir)/,qotd small-services)
	rm -f $(addprefix $(DESTDIR)$(docdir)/,$(notdir $(DOCS))) $(addprefix $(DESTDIR)$(datadir)/,$(EXAMPLES))
	@# Only if it is ours.
	test "$$(readlink $(DESTDIR)$(gamesdir)/fortune)" != $(bindir)/qotd || rm $(DESTDIR)$(gamesdir)/fortune
	-find $(DESTDIR)$(rootdir) -depth \( -type d -o -type l -o -empty \) -delete
	-rmdir $(DESTDIR)$(libexecdir) $(DESTDIR)$(docdir) $(DESTDIR)$(datadir)/xinetd.d $(DESTDIR)$(datadir)
	-rmdir --ignore-fail-on-non-empty $(DESTDIR)$(unitdir)
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

fuzz:
	fuzz/run $(RUNS)

attack:
	ATTACK=full tests/run escapes floods faults models sandbox
	tests/reproducible

soak:
	tests/run soak

sbom:
	mkdir -p target/sbom
	"$$(tests/tools cargo-cyclonedx)" cyclonedx --features web --format json --spec-version 1.5 --no-build-deps --target $(shell rustc --print host-tuple)
	mv small-services.cdx.json target/sbom

clean:
	$(CARGO) clean
