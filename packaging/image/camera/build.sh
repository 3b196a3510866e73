# The camera image: what reads V4L2 cameras, one detector with its cascade, the monitor.
cascade=usr/share/opencv4/lbpcascades/lbpcascade_frontalface.xml
plugins=(coreelements playback typefindfunctions video4linux2 videoconvertscale jpeg)

make_image() {
  cross_build sluiced sluice_tool sluice-capture sluice-detect
  unpack_kernel
  local root=$1/root
  rm -rf "$root"
  put_init "$root" camera vivid
  # Four cameras, and none of the driver's other devices; the last one needs memory that is contiguous.
  mkdir -p "$root/etc/modprobe.d"
  echo "options vivid n_devs=4 node_types=0x1,0x1,0x1,0x1 num_inputs=1,1,1,1 input_types=0x0,0x0,0x0,0x0 allocators=0,0,0,1" \
    >"$root/etc/modprobe.d/vivid.conf"
  put_programs "$root" sluiced sluice sluice-capture sluice-detect
  install -D -m 755 $debian/usr/bin/v4l2-ctl "$root/usr/bin/v4l2-ctl"
  local plugin folder=usr/lib/aarch64-linux-gnu/gstreamer-1.0
  for plugin in "${plugins[@]}"; do
    install -D -m 644 "$sysroot/$folder/libgst$plugin.so" "$root/$folder/libgst$plugin.so"
  done
  install -D -m 644 "$sysroot/$cascade" "$root/$cascade"
  put_libraries "$root" "$root"/usr/bin/* "$root/$folder"/*.so
  pack_initramfs "$root" "$1/initramfs.cpio"
}
