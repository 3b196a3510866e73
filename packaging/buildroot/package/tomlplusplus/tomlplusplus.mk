################################################################################
#
# tomlplusplus: headers only, so nothing comes to the target
#
################################################################################

TOMLPLUSPLUS_VERSION = 3.4.0
TOMLPLUSPLUS_SITE = $(call github,marzer,tomlplusplus,v$(TOMLPLUSPLUS_VERSION))
TOMLPLUSPLUS_LICENSE = MIT
TOMLPLUSPLUS_LICENSE_FILES = LICENSE
TOMLPLUSPLUS_INSTALL_STAGING = YES
TOMLPLUSPLUS_INSTALL_TARGET = NO

$(eval $(cmake-package))
