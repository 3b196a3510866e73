# make BR2_EXTERNAL=<this repository>/packaging/buildroot menuconfig; then External options.
include $(sort $(wildcard $(BR2_EXTERNAL_SLUICE_PATH)/package/*/*.mk))
