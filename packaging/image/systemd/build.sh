# The systemd image: Debian's user land as its packages have it, what a build installs, one camera.
#
# Maintainer scripts do not run, since they are programs of the other architecture. What of their work is needed is done here
# (merged /usr, passwd and group) or by systemd when it starts (sysusers, tmpfiles, the machine's id).
land=(base-files base-passwd bash coreutils dash findutils grep kmod libc-bin mawk mount procps sed systemd systemd-sysv udev
  util-linux)
plugins=(coreelements playback typefindfunctions video4linux2 videoconvertscale)
boot_arguments="audit=1 systemd.show_status=no"

make_image() {
  [[ $(id -u) -eq 0 ]] || fail "run as root: files on the disk keep their owners"
  cross_build sluiced sluice_tool sluice-capture sluice-photo-camera example_publish example_subscribe
  unpack_kernel
  tools/unpack.sh arm64 build/image/debian-systemd "${land[@]}"
  local out=$1 root=$1/root
  rm -rf "$root"
  mkdir -p "$root"/usr/{bin,sbin,lib}
  for folder in bin sbin lib; do ln -s usr/$folder "$root/$folder"; done
  tar -C build/image/debian-systemd -c . | tar -C "$root" -x --keep-directory-symlink
  put_users "$root"
  put_sluice "$root"
  put_job "$root"
  put_modules "$root" vivid
  # Room for what is written while it runs; the disk itself is never changed (snapshot).
  local megabytes=$(($(du -sm "$root" | cut -f 1) * 5 / 4 + 64))
  rm -f "$out/disk.ext4"
  mke2fs -q -t ext4 -E root_owner=0:0 -d "$root" "$out/disk.ext4" "${megabytes}M" >/dev/null

  rm -rf "$out/first"
  mkdir -p "$out/first/bin"
  cp $debian/bin/busybox "$out/first/bin/"
  install -m 755 $image_parts/systemd/init "$out/first/init"
  put_modules "$out/first" virtio_pci virtio_blk ext4
  pack_initramfs "$out/first" "$out/initramfs.cpio"
}

# Names, by Debian's own lists.
put_users() {
  local root=$1
  cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
  cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
  # udev gives devices to these groups; in Debian its maintainer script makes them.
  printf '%s:x:%d:\n' input 104 render 105 kvm 106 sgx 107 >>"$root/etc/group"
  : >"$root/etc/shadow"
  echo 5a1ce0005a1ce0005a1ce0005a1ce000 >"$root/etc/machine-id" # not a first boot: nothing is switched on by itself
  echo sluice-image >"$root/etc/hostname"
  ln -sf mawk "$root/usr/bin/awk"
}

# What `cmake --install` brings, and what the programs need beside systemd's own.
put_sluice() {
  local root=$1 component plugin folder=usr/lib/aarch64-linux-gnu/gstreamer-1.0
  for component in broker tools capture; do
    DESTDIR=$PWD/$root cmake --install "$built" --strip --component $component >/dev/null
  done
  for plugin in "${plugins[@]}"; do
    install -D -m 644 "$sysroot/$folder/libgst$plugin.so" "$root/$folder/libgst$plugin.so"
  done
  put_programs "$root" example_publish example_subscribe
  put_libraries "$root" "$root"/usr/local/bin/sluice{,d,-capture} "$root"/usr/bin/example_subscribe "$root/$folder"/*.so
}

# The pipeline, the job that looks at all, and what is switched on.
put_job() {
  local root=$1 units=$1/etc/systemd/system
  install -D -m 644 $image_parts/systemd/hall.toml "$root/etc/sluice/hall.toml"
  install -D -m 755 $image_parts/systemd/main "$root/image/main"
  cp $image_parts/report.sh "$root/image/"
  install -D -m 644 $image_parts/systemd/image.service "$units/image.service"
  mkdir -p "$units"/{sockets,multi-user}.target.wants
  ln -s /usr/local/lib/systemd/system/sluiced.socket "$units/sockets.target.wants/sluiced.socket"
  ln -s ../image.service "$units/multi-user.target.wants/image.service"
  ln -sf /lib/systemd/system/multi-user.target "$units/default.target"
  ln -s /dev/null "$units/serial-getty@.service"
  ln -s /dev/null "$units/getty-static.service"
  mkdir -p "$root/etc/modprobe.d" "$root/etc/modules-load.d"
  echo vivid >"$root/etc/modules-load.d/vivid.conf"
  echo "options vivid n_devs=1 node_types=0x1 num_inputs=1 input_types=0x0" >"$root/etc/modprobe.d/vivid.conf"
}
