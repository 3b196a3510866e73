# The tiny image: the broker, the tool, two programs of examples/, and nothing else but busybox.
make_image() {
  cross_build sluiced sluice_tool example_publish example_subscribe
  unpack_kernel
  local root=$1/root
  rm -rf "$root"
  put_init "$root" tiny
  put_programs "$root" sluiced sluice example_publish example_subscribe
  put_libraries "$root" "$root"/usr/bin/*
  pack_initramfs "$root" "$1/initramfs.cpio"
}
