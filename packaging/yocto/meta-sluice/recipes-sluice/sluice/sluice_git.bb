SUMMARY = "Shared-memory transport for camera frames and messages"
DESCRIPTION = "Moves camera frames and control messages between the processes of an edge vision pipeline \
without copying them: libraries, the broker sluiced, the tool sluice, recorder, capture and vision."
SECTION = "multimedia"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"

# The repository that this layer lies in. Elsewhere: SLUICE_REPOSITORY = "git://host/sluice.git;protocol=https".
SLUICE_REPOSITORY ?= "git://${@os.path.realpath(d.getVar('THISDIR') + '/../../../../..')};protocol=file"
SLUICE_BRANCH ?= "main"
SRC_URI = "${SLUICE_REPOSITORY};branch=${SLUICE_BRANCH}"
SRCREV ?= "${AUTOREV}"
PV = "0.1.0+git"
S = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}/git"

DEPENDS = "boost flatbuffers flatbuffers-native nlohmann-json"

inherit cmake pkgconfig systemd useradd

PACKAGECONFIG ??= "broker tools recorder ${@bb.utils.filter('DISTRO_FEATURES', 'systemd', d)}"
PACKAGECONFIG[broker] = "-DSLUICE_BUILD_DAEMONS=ON,-DSLUICE_BUILD_DAEMONS=OFF,cli11 spdlog tomlplusplus"
PACKAGECONFIG[tools] = "-DSLUICE_BUILD_TOOLS=ON,-DSLUICE_BUILD_TOOLS=OFF,cli11 libjpeg-turbo ncurses"
PACKAGECONFIG[recorder] = "-DSLUICE_BUILD_RECORDER=ON,-DSLUICE_BUILD_RECORDER=OFF,sqlite3"
PACKAGECONFIG[capture] = "-DSLUICE_BUILD_CAPTURE=ON,-DSLUICE_BUILD_CAPTURE=OFF,gstreamer1.0 gstreamer1.0-plugins-base gstreamer1.0-rtsp-server,gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
PACKAGECONFIG[vision] = "-DSLUICE_BUILD_VISION=ON,-DSLUICE_BUILD_VISION=OFF,opencv"
PACKAGECONFIG[systemd] = "-DSLUICE_SYSTEMD=ON,-DSLUICE_SYSTEMD=OFF,systemd"

# The configuration is in no component of the build; units are moved to where this distribution has them.
do_install:append() {
    if [ -e ${D}${bindir}/sluiced ]; then
        install -D -m 0644 ${S}/packaging/sluiced.toml ${D}${sysconfdir}/sluice/sluiced.toml
    fi
    if [ -e ${D}${bindir}/sluice-recorder ]; then
        install -D -m 0644 ${S}/packaging/sluice-recorder.toml ${D}${sysconfdir}/sluice/sluice-recorder.toml
    fi
    if [ -d ${D}${nonarch_libdir}/systemd/system ] && [ ${systemd_system_unitdir} != ${nonarch_libdir}/systemd/system ]; then
        install -d ${D}${systemd_system_unitdir}
        mv ${D}${nonarch_libdir}/systemd/system/* ${D}${systemd_system_unitdir}
        rmdir ${D}${nonarch_libdir}/systemd/system ${D}${nonarch_libdir}/systemd
    fi
}

# A package for each purpose; ${PN} itself, which they replace, stays empty.
PACKAGES =+ "lib${BPN} lib${BPN}-pipeline sluiced ${PN}-tools ${PN}-recorder ${PN}-pipeline"
ALLOW_EMPTY:${PN} = "1"

FILES:lib${BPN} = "${libdir}/libsluice.so.*"
FILES:lib${BPN}-pipeline = "${libdir}/libsluice_pipeline.so.*"
FILES:sluiced = "${bindir}/sluiced ${sysconfdir}/sluice/sluiced.toml ${systemd_system_unitdir}/sluiced.* \
    ${nonarch_libdir}/sysusers.d/sluice.conf"
FILES:${PN}-tools = "${bindir}/sluice ${datadir}/bash-completion ${datadir}/zsh"
FILES:${PN}-recorder = "${bindir}/sluice-recorder ${sysconfdir}/sluice/sluice-recorder.toml \
    ${systemd_system_unitdir}/sluice-recorder.service"
FILES:${PN}-pipeline = "${bindir}/sluice-annotate ${bindir}/sluice-capture ${bindir}/sluice-detect \
    ${bindir}/sluice-photo-camera ${bindir}/sluice-recognize ${systemd_system_unitdir}/sluice-pipeline@.service \
    ${nonarch_libdir}/sysusers.d/sluice-pipeline.conf"
FILES:${PN}-dev += "${datadir}/sluice/schemas ${libdir}/cmake"

CONFFILES:sluiced = "${sysconfdir}/sluice/sluiced.toml"
CONFFILES:${PN}-recorder = "${sysconfdir}/sluice/sluice-recorder.toml"

# They use private symbols of the library, of this version alone.
RDEPENDS:lib${BPN}-pipeline = "lib${BPN} (= ${EXTENDPKGV})"
RDEPENDS:sluiced = "lib${BPN} (= ${EXTENDPKGV})"
RDEPENDS:${PN}-tools = "lib${BPN} (= ${EXTENDPKGV}) lib${BPN}-pipeline (= ${EXTENDPKGV})"
RDEPENDS:${PN}-recorder = "lib${BPN} (= ${EXTENDPKGV}) sluiced"
RDEPENDS:${PN}-pipeline = "lib${BPN} (= ${EXTENDPKGV}) lib${BPN}-pipeline (= ${EXTENDPKGV}) sluiced ${PN}-tools"

SYSTEMD_PACKAGES = "sluiced ${@bb.utils.contains('PACKAGECONFIG', 'recorder', '${PN}-recorder', '', d)}"
SYSTEMD_SERVICE:sluiced = "sluiced.socket sluiced.service"
SYSTEMD_SERVICE:${PN}-recorder = "sluice-recorder.service"

# The users of packaging/systemd/*.sysusers, for images that are made without systemd-sysusers.
USERADD_PACKAGES = "sluiced ${@bb.utils.contains('PACKAGECONFIG', 'capture', '${PN}-pipeline', '', d)}"
GROUPADD_PARAM:sluiced = "--system sluice"
USERADD_PARAM:sluiced = "--system --no-create-home --home-dir / --shell /sbin/nologin --gid sluice sluice"
GROUPADD_PARAM:${PN}-pipeline = "--system sluice; --system sluice-pipeline"
USERADD_PARAM:${PN}-pipeline = "--system --no-create-home --home-dir / --shell /sbin/nologin \
    --gid sluice-pipeline --groups sluice,video sluice-pipeline"
