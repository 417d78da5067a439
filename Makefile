# make            build the programs
# make run        serve QOTD on 127.0.0.1:1717; ARGS='--daily' adds options
# make test       run all tests; first installs what they need (as root, on Debian or Ubuntu)
# make install    install programs, systemd units and documentation; reloads systemd unless DESTDIR is set
# make uninstall  remove them
# make units      update the units and the files for other super-servers, from the table `services` and units/templates; they are in
#                 the repository so that they can be read, and installed without Rust
# make manuals    update the manual pages and the completions, from man/templates and the programs' options
# make pictures   draw docs/three-ways.svg, from the table in docs/benchmarks.md
# make lint       check format, lints, documentation and scripts
# make bench      run the benchmarks, with other programs for comparison; PLOTS=yes also writes docs/benchmarks.md
# make bench-units   measure the cost of each directive when a unit starts, for three versions of systemd; writes docs/costs.md
# make bench-layers  measure the cost of Landlock, seccomp and the other layers; also writes docs/costs.md
# make fuzz       run the fuzz targets, RUNS=10000000 times each
# make attack     run the long versions of the attack tests, and compare two builds; writes docs/escapes.md, docs/floods.md,
#                 docs/hardening.md and docs/kernels.md
# make soak       put mixed load on all services, for SOAK=300 seconds
# make oldest     build the programs with the oldest supported Rust, in a root of Debian 13
# make cross      build the services for aarch64 on another architecture, and check their filters
# make mutants    check that the tests notice each change of crates/hunker's code; PACKAGE=, CHANGED=, TESTS= and UNITS= select others
# make deb        build Debian packages in target/packages; `make rpm` for Fedora and the like, `make image` a container image
# make packages-test  check that the packages install what `make install` does, and test them on Debian 12 and 13
# make release    build everything that is published of a version, in target/release-VERSION, and print the remaining steps
# make sbom       list the contents of the programs, as CycloneDX: target/sbom/*.cdx.json
#
# Variables: PREFIX, DESTDIR, unitdir, libexecdir, rootdir, bindir, docdir, datadir, gamesdir, tmpfilesdir, presetdir, mandir,
# bashcompletiondir, zshcompletiondir, fishcompletiondir.
# `make install FORTUNE=yes` also installs fortune(6), strfile(1) and unstr(1), as links to qotd and small-services.
# `make install systemd=257` installs units for systemd 257 or newer, and systemd=none units for any version: units/257 and the like
# hold directives that older versions do not know. The default is this host's version, and none with DESTDIR.
#
# CARGOFLAGS=--offline builds without a network. builddir=DIR builds in DIR; pass it to `make install` as well.
# CARGO_TARGET_DIR and RUSTFLAGS of the environment are respected.

PREFIX     = /usr/local
DESTDIR    =
bindir     = $(PREFIX)/bin
libexecdir = $(PREFIX)/libexec/small-services
rootdir    = /run/small-services
docdir     = $(PREFIX)/share/doc/small-services
datadir    = $(PREFIX)/share/small-services
gamesdir   = $(PREFIX)/games
unitdir    = $(if $(early),$(PREFIX)/lib/systemd/system,/etc/systemd/system)
tmpfilesdir = $(configdir)/tmpfiles.d
presetdir  = $(configdir)/systemd/system-preset
mandir     = $(PREFIX)/share/man
bashcompletiondir = $(PREFIX)/share/bash-completion/completions
zshcompletiondir = $(PREFIX)/share/zsh/site-functions
fishcompletiondir = $(PREFIX)/share/fish/vendor_completions.d
builddir   = target
systemd   := $(if $(DESTDIR),none,$(or $(shell systemctl --version 2>/dev/null | sed -n 's/^systemd \([0-9]*\).*/\1/p'),none))

# systemd reads units below /usr and /usr/local, and reads those of the boot before it mounts anything. So units go to /etc for other
# prefixes, and for a /usr/local that is not on the file system of / or /usr.
mounted   := $(shell device() { stat -L -c %d "$$1"; }; test ! -e /usr/local || test "$$(device /usr/local)" = "$$(device /)" || \
	test "$$(device /usr/local)" = "$$(device /usr)" || echo /usr/local)
early      = $(filter-out $(if $(DESTDIR),,$(mounted)),$(filter /usr /usr/local,$(PREFIX:%/=%)))
configdir  = $(if $(filter %/systemd/system,$(unitdir)),$(unitdir:%/systemd/system=%),/etc)

CARGO    = cargo
RUSTC    = rustc
INSTALL  = install
# The first column of the table.
PROGRAMS := $(shell sed -n 's/^\([a-z][a-z0-9-]*\)[[:blank:]].*/\1/p' services)
WEB      = lunchd
DAEMONS  = $(filter %-daemon.service $(WEB:%=%.service),$(UNITS))
UNITS    = $(filter %.socket %.service %.slice,$(notdir $(wildcard units/*)))
# small-services-fortune(6) is only installed with the program of this name.
MANUALS  = $(filter-out $(if $(filter yes,$(FORTUNE)),,%.6),$(notdir $(wildcard man/*.[1-8])))
COMPLETIONS = $(addprefix $(bashcompletiondir)/,$(notdir $(wildcard completions/bash/*))) \
	$(addprefix $(zshcompletiondir)/,$(notdir $(wildcard completions/zsh/*))) $(addprefix $(fishcompletiondir)/,$(notdir $(wildcard completions/fish/*)))
# Directives of newer versions of systemd, as drop-ins for all units of a kind: units/VERSION/KIND.conf. systemd reads drop-ins in the
# order of their names, and those of `systemctl edit` later.
connection = $(filter %@.service,$(UNITS))
daemon   = $(DAEMONS)
DROPINS := $(wildcard units/[0-9]*/*.conf)
dropin   = 10-systemd-$(notdir $(patsubst %/,%,$(dir $(1)))).conf
known    = $(if $(filter none,$(systemd)),,$(foreach file,$(DROPINS),$(shell \
	test $(notdir $(patsubst %/,%,$(dir $(file)))) -gt $(systemd) || echo $(file))))
EXAMPLES = apparmor inetd.conf tcpserver $(PROGRAMS:%=xinetd.d/%)
# Installed in the same directories as here, so that their links work.
DOCS     = README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md LICENSE-MIT LICENSE-APACHE NOTICE crates/hunker/README.md \
	$(wildcard docs/*.md docs/*.png docs/*.svg docs/plots/*.svg docs/data/* examples/*.rs)
# The directories that the units hide from the services, and those that daemons' units make inaccessible.
HIDDEN  := $(shell sed -n 's/^hidden[[:blank:]]*//p' units/templates/paths)
CLOSED  := $(shell sed -n 's/^closed[[:blank:]]*//p' units/templates/paths)
# The directories that belong to this package. Shared directories are created if they are missing, and are not changed.
OURS     = $(libexecdir) $(addprefix $(docdir)/,docs/plots docs/data docs crates/hunker crates examples) $(docdir) $(datadir)/xinetd.d $(datadir)
FILES    = $(addprefix $(libexecdir)/,$(PROGRAMS) $(WEB)) $(bindir)/qotd $(bindir)/small-services \
	$(addprefix $(docdir)/,$(DOCS)) $(addprefix $(datadir)/,$(EXAMPLES)) $(addprefix $(unitdir)/,$(UNITS)) \
	$(tmpfilesdir)/small-services.conf $(presetdir)/80-small-services.preset \
	$(foreach page,$(notdir $(wildcard man/*.[1-8])),$(call manual,$(page))) $(COMPLETIONS)
# Links, as NAME:TARGET. Only qotd is in the PATH, so only its page has a link with its plain name: discard(8) is Postfix's, and
# echo(1) and time(1) would be found first.
LINKS    = $(call manual,qotd.8):small-services-qotd.8 $(if $(filter yes,$(FORTUNE)),$(THEIRS))
# The names of fortune-mod's programs and pages.
THEIRS   = $(gamesdir)/fortune:$(bindir)/qotd $(bindir)/strfile:$(bindir)/small-services $(bindir)/unstr:$(bindir)/small-services \
	$(foreach page,fortune.6 strfile.1 unstr.1,$(call manual,$(page)):small-services-$(page))
# Links to the built programs, for an installation without cargo, which root often does not have.
programs = $(builddir)/programs

# RUSTFLAGS overrides the flags in .cargo/config.toml, so they are added to it.
STATIC := -C target-feature=+crt-static -C relocation-model=pie
empty :=
separator := $(shell printf '\037')
# Words in the format of CARGO_ENCODED_RUSTFLAGS, where each may contain blanks.
encode = $(subst $(empty) $(empty),$(separator),$(strip $(1)))
given := $(or $(CARGO_ENCODED_RUSTFLAGS),$(call encode,$(RUSTFLAGS)))
flags := $(if $(given),$(given)$(if $(findstring +crt-static,$(given)),,$(separator)$(call encode,$(STATIC))),$(call encode,$(STATIC)))
ifneq ($(given),)
override CARGO_ENCODED_RUSTFLAGS := $(flags)
export CARGO_ENCODED_RUSTFLAGS
endif
# The programs contain no path of the build host: neither that of the sources nor that of cargo's crates.
remap = $(separator)--remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)=/cargo$(separator)--remap-path-prefix=$(CURDIR)=/small-services

.PHONY: all build run units manuals pictures test install uninstall lint bench bench-units bench-layers fuzz attack soak oldest cross mutants deb rpm image packages-test release sbom clean

# Only cargo knows where it puts a program (CARGO_TARGET_DIR, its configuration, another target); it prints the path as JSON.
# The target is set here as well, since `host-tuple` in .cargo/config.toml requires cargo 1.91.
compile = mkdir -p $(programs) && CARGO_ENCODED_RUSTFLAGS='$(flags)$(remap)' \
	CARGO_BUILD_TARGET=$${CARGO_BUILD_TARGET:-$$($(RUSTC) -vV | sed -n 's/^host: //p')} \
	$(CARGO) build --release --locked $(if $(filter file,$(origin builddir)),,--target-dir $(builddir)) $(CARGOFLAGS) $(1) \
		--message-format json-render-diagnostics >$(programs)/messages && \
	sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' $(programs)/messages | sed "s|^$$(cd $(programs)/.. && pwd)/|../|" | \
	while read -r program; do ln -sf "$$program" $(programs) || exit 1; done

all build:
	@$(call compile,--package small-services --features services)
	@$(call compile,--package small-services-lunchd)

run:
	@$(call compile,--package small-services --features services --bin qotd)
	@$(programs)/qotd --listen 127.0.0.1:1717 $(ARGS)

# Paths end up in units, in files of other super-servers and in shells, where some characters have a special meaning. `make install`
# and `make uninstall` refuse such characters before they do anything.
DIRECTORIES = bindir libexecdir rootdir docdir datadir gamesdir unitdir tmpfilesdir presetdir mandir bashcompletiondir zshcompletiondir fishcompletiondir
DIGITS := 0 1 2 3 4 5 6 7 8 9
PLAIN := a b c d e f g h i j k l m n o p q r s t u v w x y z A B C D E F G H I J K L M N O P Q R S T U V W X Y Z \
	$(DIGITS) + , - . / @ _ ~
# The characters of $(2) that are not in the list $(1).
strange = $(if $(1),$(call strange,$(wordlist 2,$(words $(1)),$(1)),$(subst $(firstword $(1)),,$(2))),$(2))
advice  = choose a path of letters, digits and + , - . / @ _ ~
check   = $(if $(filter 1,$(words x$($(1))x)),,$(error $(1) contains a blank or a line end; $(advice))) \
	$(if $(call strange,$(PLAIN),$($(1))),$(error $(1) contains '$(call strange,$(PLAIN),$($(1)))'; $(advice)))
# systemd refuses paths with . or .. in them, and the root directory is shared.
below   = $(if $(and $(filter /%,$($(1))),$(subst /,,$($(1)))),,$(error $(1) is '$($(1))'; choose a directory below /)) \
	$(if $(filter . ..,$(subst /, ,$($(1)))),$(error $(1) is '$($(1))'; choose a directory below / without . and ..))
checked = $(foreach name,PREFIX DESTDIR $(DIRECTORIES),$(call check,$(name)))$(foreach name,$(DIRECTORIES),$(call below,$(name))) \
	$(if $(filter -% ~%,$(DESTDIR)),$(error DESTDIR is '$(DESTDIR)'; choose a path that begins with / or a name)) \
	$(if $(filter none,$(systemd)),,$(if $(and $(filter 1,$(words $(systemd))),$(filter 1,$(words x$(systemd)x)),$(if \
		$(call strange,$(DIGITS),$(systemd)),,yes)),,$(error systemd is '$(systemd)'; set it to the oldest version to support, \
		such as 257, or none)))

# The real directory of the programs, with links resolved; unknown with DESTDIR.
resolve  = $(or $(realpath $(1)),$(call resolve,$(or $(patsubst %/,%,$(dir $(1))),/))/$(notdir $(1)))
physical = $(if $(DESTDIR),,$(call resolve,$(libexecdir)))
# The directories of the list $(1) that contain the programs.
around   = $(foreach directory,$(1),$(if $(filter $(addsuffix /%,$(directory) $(realpath $(directory))),$(libexecdir) $(physical)),$(directory)))
seen     = $(foreach directory,$(call around,$(HIDDEN)),$(error the units hide $(directory) from the services, \
	so they could not start the programs in $(libexecdir); choose another PREFIX))
# Computed once, when it is needed.
closed   = $(eval closed := $(addprefix -,$(filter-out $(call around,$(CLOSED)),$(CLOSED))))$(closed)

# Fills in the paths.
fill  = rm -f "$(2)" && sed -e 's|@libexecdir@|$(libexecdir)|g' -e 's|@rootdir@|$(rootdir)|g' -e 's|@docdir@|$(docdir)|g' \
	-e 's|@datadir@|$(datadir)|g' \
	-e 's|@closed@|$(closed)|' $(1) > "$(2)" || exit 1

# The path of a manual page by its section, and the paths in it: with minus signs, not hyphens.
manual = $(mandir)/man$(lastword $(subst ., ,$(1)))/$(1)
minus  = 's|@$(1)@|$(subst -,\\-,$($(1)))|g'
typeset = rm -f "$(2)" && sed $(foreach name,libexecdir rootdir docdir datadir unitdir,-e $(call minus,$(name))) $(1) >"$(2)" || exit 1

# The two parts of a word of LINKS; paths contain no colon.
name   = $(DESTDIR)$(firstword $(subst :, ,$(1)))
leads  = $(lastword $(subst :, ,$(1)))
link   = ln -sf $(call leads,$(1)) $(call name,$(1)) || exit 1
# For any version: systemd or the installed units may be older or newer.
drop   = rm -f $(foreach unit,$(UNITS),$(DESTDIR)$(unitdir)/$(unit).d/10-systemd-[0-9]*.conf) && \
	{ rmdir $(foreach unit,$(UNITS),$(DESTDIR)$(unitdir)/$(unit).d) 2>/dev/null || true; }
unlink = test "$$(readlink $(call name,$(1)))" != $(call leads,$(1)) || rm $(call name,$(1)) || exit 1

# Does not build: run `make` as yourself, and `make install` as root. Modes do not depend on root's umask.
#
# Only root may read the services' programs (711). So the kernel makes their processes undumpable from the first instruction on, before
# the program itself can do so: no other process of the same user, such as inetd's `nobody`, can take the connection or the memory
# of a new process (ptrace(2), pidfd_getfd(2)).
install:
	$(checked)$(seen)
	@test -x $(programs)/lunchd || { echo 'make install: the programs are not built yet; run `make` first' >&2; exit 1; }
	umask 022 && mkdir -p $(addprefix $(DESTDIR),$(bindir) $(unitdir) $(tmpfilesdir) $(presetdir) \
		$(if $(filter yes,$(FORTUNE)),$(gamesdir)) $(bashcompletiondir) $(zshcompletiondir) $(fishcompletiondir) \
		$(sort $(foreach page,$(MANUALS),$(patsubst %/,%,$(dir $(call manual,$(page)))))))
	umask 022 && $(INSTALL) -d -m 755 $(addprefix $(DESTDIR),$(OURS))
	$(INSTALL) -m 711 $(addprefix $(programs)/,$(PROGRAMS) $(WEB)) $(DESTDIR)$(libexecdir)
	$(INSTALL) -m 711 $(programs)/qotd $(DESTDIR)$(bindir)
	$(INSTALL) -m 755 $(programs)/small-services $(DESTDIR)$(bindir)
	@$(foreach file,$(DOCS),$(INSTALL) -m 644 $(file) $(DESTDIR)$(docdir)/$(file) || exit 1;)
	@umask 022; for unit in $(UNITS); do $(call fill,"units/$$unit",$(DESTDIR)$(unitdir)/$$unit); done
	@$(drop)
	@umask 022; $(foreach file,$(known),for unit in $($(basename $(notdir $(file)))); do \
		mkdir -p $(DESTDIR)$(unitdir)/$$unit.d && $(INSTALL) -m 644 $(file) $(DESTDIR)$(unitdir)/$$unit.d/$(call dropin,$(file)) || exit 1; \
	done;)
	@umask 022; for example in $(EXAMPLES); do \
		$(call fill,"units/super-servers/$$example",$(DESTDIR)$(datadir)/$$example); \
	done
	chmod 755 $(DESTDIR)$(datadir)/tcpserver
	@umask 022; $(call fill,units/tmpfiles.conf,$(DESTDIR)$(tmpfilesdir)/small-services.conf)
	@# Enables no socket, even if the distribution enables new units by default.
	@umask 022; printf 'disable %s\n' $(filter %.socket,$(UNITS)) >$(DESTDIR)$(presetdir)/80-small-services.preset
	@umask 022; for page in $(MANUALS); do $(call typeset,"man/$$page",$(DESTDIR)$(mandir)/man$${page##*.}/$$page); done
	$(INSTALL) -m 644 completions/bash/* $(DESTDIR)$(bashcompletiondir)
	$(INSTALL) -m 644 completions/zsh/* $(DESTDIR)$(zshcompletiondir)
	$(INSTALL) -m 644 completions/fish/* $(DESTDIR)$(fishcompletiondir)
	@$(foreach pair,$(LINKS),$(call link,$(pair));)
	$(if $(live),systemd-tmpfiles --create $(tmpfilesdir)/small-services.conf)
	$(reload)
	@# The administrator decides when to restart daemons, since that ends connections in progress.
	$(if $(live),@running=$$(for unit in $(DAEMONS); do ! systemctl is-active --quiet $$unit || printf ' %s' $$unit; done); \
		test -z "$$running" || echo "These daemons still run the old programs; run \`systemctl restart$$running\`")
	$(if $(early),,@echo 'The units are in $(unitdir): systemd reads no units below $(PREFIX) when it boots.')

# Also ends connections in progress. Foreign files in the package's directories stay, and so do shared directories.
uninstall:
	$(checked)
	$(if $(live),-systemctl disable --now $(filter %.socket,$(UNITS)))
	$(if $(live),-systemctl stop $(patsubst %@.service,'%@*.service',$(filter %@.service,$(UNITS))) \
		$(DAEMONS) $(filter %.slice,$(UNITS)))
	rm -f $(addprefix $(DESTDIR),$(FILES))
	@$(drop)
	@# Only links to our programs.
	@$(foreach pair,$(LINKS) $(THEIRS),$(call unlink,$(pair));)
	@# Under /run, everything that systemd creates: directories, empty files, links.
	$(if $(live),@! test -d $(rootdir) || find $(rootdir) -xdev -depth \( -type d -o -type l -o -empty \) -delete)
	@for directory in $(addprefix $(DESTDIR),$(OURS)); do \
		rmdir $$directory 2>/dev/null || ! test -e $$directory || \
			echo "make uninstall: $$directory stays, since it contains files that make install did not install"; \
	done
	@rmdir $(addprefix $(DESTDIR),$(filter $(PREFIX)/%,$(unitdir) $(tmpfilesdir) $(presetdir))) 2>/dev/null || true
	$(reload)

# The live system: without DESTDIR, on a host that systemd runs.
live   = $(if $(DESTDIR),,$(wildcard /run/systemd/system))
reload = $(if $(live),systemctl daemon-reload)

units:
	@UPDATE=yes $(CARGO) test --locked --quiet $(CARGOFLAGS) --test documents the_units >/dev/null

manuals:
	@UPDATE=yes $(CARGO) test --locked --quiet $(CARGOFLAGS) --test manuals the_manuals >/dev/null

# Through another file: where the script fails, the picture stays.
pictures:
	docs/draw >docs/three-ways.svg.new && mv docs/three-ways.svg.new docs/three-ways.svg || { rm -f docs/three-ways.svg.new; exit 1; }

lint:
	tests/lint

test:
	tests/run

bench:
	benches/run

bench-units:
	benches/run directives

bench-layers:
	benches/run layers

fuzz:
	fuzz/run $(RUNS)

attack:
	ATTACK=full tests/run escapes walls floods faults models sandbox memory kernels
	RELEASE=sid tests/run escapes
	tests/reproducible

soak:
	tests/run soak

oldest:
	tests/oldest

cross:
	tests/cross

mutants:
	TESTS='$(TESTS)' tests/mutants $(or $(PACKAGE),hunker) $(foreach pattern,$(CHANGED),'$(pattern)')

# docs/packaging.md
deb: all
	builddir=$(builddir) packaging/deb

rpm: all
	builddir=$(builddir) packaging/rpm

image: all
	builddir=$(builddir) packaging/image

packages-test:
	tests/run packages

# docs/releasing.md
release:
	packaging/release

sbom:
	mkdir -p target/sbom
	"$$(tests/tools cargo-cyclonedx)" cyclonedx --features services --format json --spec-version 1.5 --no-build-deps --target $(shell $(RUSTC) --print host-tuple)
	mv small-services.cdx.json crates/lunchd/small-services-lunchd.cdx.json target/sbom && rm -f crates/*/*.cdx.json

clean:
	$(CARGO) clean
	rm -rf $(programs)
