# The steps that the images have in common; sourced by tools/image.sh, at the root of the repository. `variant`
# is -core or empty, `sysroot` the unpacked Debian root that programs are built against, `built` their build folder.

image_parts=packaging/image

# cross_build TARGET…: what the image is made of; a long log only when it fails.
cross_build() {
  echo "image: building $*"
  local log
  log=$(tools/cross-build.sh ${variant:+--core} aarch64 -- "$@" 2>&1) || {
    echo "$log" >&2
    fail "the cross build failed"
  }
}

# Debian's kernel and what stands in an image beside it, unpacked: sets `debian`, `kernel`, `release`.
unpack_kernel() {
  debian=build/image/debian
  tools/unpack.sh arm64 $debian linux-image-arm64 busybox-static v4l-utils
  local found=("$debian"/boot/vmlinuz-*-arm64)
  [[ ${#found[@]} -eq 1 && -f ${found[0]} ]] || fail "one kernel was expected in $debian/boot: ${found[*]}"
  kernel=${found[0]}
  release=${kernel#*vmlinuz-}
  [[ -f $debian/lib/modules/$release/modules.dep ]] || depmod -b $debian "$release"
}

# put_modules ROOT MODULE…: with all that they need, and the index that modprobe reads.
put_modules() {
  local root=$1
  shift
  local file
  for file in $(modprobe -d "$PWD/$debian" -S "$release" --show-depends "$@" -a | awk '$1 == "insmod" { print $2 }' | sort -u); do
    install -D -m 644 "$file" "$root/${file#"$PWD/$debian/"}"
  done
  cp $debian/lib/modules/"$release"/modules.{order,builtin,builtin.modinfo} "$root/lib/modules/$release/"
  depmod -b "$root" "$release"
}

# put_programs ROOT PROGRAM…: of the build folder, stripped, in /usr/bin.
put_programs() {
  local root=$1 program
  shift
  mkdir -p "$root/usr/bin"
  for program in "$@"; do
    aarch64-linux-gnu-strip -o "$root/usr/bin/$program" "$built/bin/$program"
  done
}

# put_libraries ROOT FILE…: what all these need; ours stripped, as Debian's are.
put_libraries() {
  local root=$1
  shift
  python3 -B $image_parts/libraries.py --root "$sysroot" --also "$built/lib" --also $debian/usr/lib/aarch64-linux-gnu \
    --into "$root" "$@"
  find "$root" -type f -name 'libsluice*.so.*' -exec aarch64-linux-gnu-strip --strip-unneeded {} +
}

# put_init ROOT KIND MODULE…: busybox, process 1 and the image's own job.
put_init() {
  local root=$1 kind=$2
  shift 2
  mkdir -p "$root"/{dev,proc,sys,tmp,run,etc,image} "$root"/usr/{bin,lib}
  ln -s usr/bin usr/lib "$root/" # as everywhere in Debian; GStreamer finds its plugins from where its library lies
  cp $debian/bin/busybox "$root/bin/"
  install -m 755 $image_parts/init "$root/init"
  cp $image_parts/report.sh $image_parts/"$kind"/{main,pipeline.toml} "$root/image/"
  echo 'root:x:0:0:root:/tmp:/bin/sh' >"$root/etc/passwd"
  echo 'root:x:0:' >"$root/etc/group"
  printf '%s\n' "$@" >"$root/image/modules"
  [[ $# -eq 0 ]] || put_modules "$root" "$@"
}

# pack_initramfs ROOT FILE. Not compressed: an emulated processor takes longer to unpack it than qemu to read it.
pack_initramfs() {
  (cd "$1" && find . -print0 | LC_ALL=C sort -z | cpio --null --create --quiet --format=newc --owner=0:0) >"$2.part"
  mv "$2.part" "$2"
}

# boot FOLDER SECONDS [ARGUMENTS FOR QEMU]: runs the machine until it powers off, with its serial line in serial.log.
# Fails when it took longer.
boot() {
  local folder=$1 seconds=$2 extra=()
  [[ ! -f $folder/disk.ext4 ]] ||
    extra=(-drive "file=$folder/disk.ext4,format=raw,if=none,id=disk,snapshot=on" -device virtio-blk-pci,drive=disk)
  echo "image: booting; $(du -h --apparent-size "$folder"/initramfs.cpio | cut -f 1) initramfs, $(du -h --apparent-size "$kernel" | cut -f 1) kernel"
  local began=$SECONDS status=0
  timeout --kill-after=5 "$seconds" qemu-system-aarch64 -M virt -cpu cortex-a72 -smp 2 -m 1024 -nographic -nic none \
    -no-reboot -kernel "$kernel" -initrd "$folder/initramfs.cpio" "${extra[@]}" \
    -append "console=ttyAMA0 quiet loglevel=1 panic=-1 ${boot_arguments-}" </dev/null >"$folder/serial.log" 2>&1 || status=$?
  echo "image: the machine ran for $((SECONDS - began)) s"
  return $status
}
