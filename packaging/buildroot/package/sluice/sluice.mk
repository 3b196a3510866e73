################################################################################
#
# sluice: built from the repository that this file lies in
#
################################################################################

SLUICE_VERSION = 0.1.0
SLUICE_SITE = $(realpath $(BR2_EXTERNAL_SLUICE_PATH)/../..)
SLUICE_SITE_METHOD = local
SLUICE_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = --exclude build
SLUICE_LICENSE = Apache-2.0
SLUICE_LICENSE_FILES = LICENSE
SLUICE_INSTALL_STAGING = YES
SLUICE_DEPENDENCIES = host-flatbuffers host-pkgconf boost flatbuffers json-for-modern-cpp

# $(call SLUICE_PART,<option of CMake>,<option of Buildroot>,<packages>)
define SLUICE_PART
ifeq ($$(BR2_PACKAGE_$(2)),y)
SLUICE_CONF_OPTS += -D$(1)=ON
SLUICE_DEPENDENCIES += $(3)
else
SLUICE_CONF_OPTS += -D$(1)=OFF
endif
endef
$(eval $(call SLUICE_PART,SLUICE_BUILD_DAEMONS,SLUICE_BROKER,cli11 spdlog tomlplusplus))
$(eval $(call SLUICE_PART,SLUICE_BUILD_TOOLS,SLUICE_TOOLS,cli11 jpeg-turbo ncurses))
$(eval $(call SLUICE_PART,SLUICE_BUILD_RECORDER,SLUICE_RECORDER,sqlite))
$(eval $(call SLUICE_PART,SLUICE_BUILD_CAPTURE,SLUICE_CAPTURE,gstreamer1 gst1-plugins-base gst1-rtsp-server))
$(eval $(call SLUICE_PART,SLUICE_BUILD_VISION,SLUICE_VISION,opencv4))
$(eval $(call SLUICE_PART,SLUICE_SYSTEMD,SYSTEMD,systemd))

ifeq ($(BR2_PACKAGE_SLUICE_BROKER),y)
define SLUICE_INSTALL_CONFIGURATION
	$(INSTALL) -D -m 0644 $(@D)/packaging/sluiced.toml $(TARGET_DIR)/etc/sluice/sluiced.toml
endef
SLUICE_POST_INSTALL_TARGET_HOOKS += SLUICE_INSTALL_CONFIGURATION

# Without systemd; with it, CMake has installed the units.
define SLUICE_INSTALL_INIT_SYSV
	$(INSTALL) -D -m 0755 $(SLUICE_PKGDIR)/sluiced.init $(TARGET_DIR)/etc/init.d/S50sluiced
endef

# The users of packaging/systemd/*.sysusers.
define SLUICE_USERS
	sluice -1 sluice -1 * - - - Sluice broker
	$(if $(BR2_PACKAGE_SLUICE_CAPTURE),sluice-pipeline -1 sluice-pipeline -1 * - - sluice$(comma)video Sluice pipelines)
endef
endif

ifeq ($(BR2_PACKAGE_SLUICE_RECORDER),y)
define SLUICE_INSTALL_RECORDER_CONFIGURATION
	$(INSTALL) -D -m 0644 $(@D)/packaging/sluice-recorder.toml $(TARGET_DIR)/etc/sluice/sluice-recorder.toml
endef
SLUICE_POST_INSTALL_TARGET_HOOKS += SLUICE_INSTALL_RECORDER_CONFIGURATION
endif

$(eval $(cmake-package))
