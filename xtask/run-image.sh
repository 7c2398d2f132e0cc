# Becomes an image's program, in a mount namespace of its own: `cargo xtask image` calls it as root.
# Arguments: the root, user and group, the directory of the volumes, how many there are, they, and the command.
set -eu
root=$1 user=$2 volumes=$3 count=$4
shift 4
mount --bind "$root" "$root"
# After the root, so that they stay writable below it.
while [ "$count" -gt 0 ]; do
    mount --bind "$volumes$1" "$root$1"
    shift
    count=$((count - 1))
done
# The devices that every container runtime gives.
mount -t tmpfs -o mode=0755 tmpfs "$root/dev"
for device in null zero full random urandom; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
    mount -o remount,bind,ro "$root/dev/$device"
done
mount -o remount,bind,ro "$root/dev"
mount -o remount,bind,ro "$root"
chroot=$(command -v chroot)
exec setpriv --no-new-privs env -i TAPEWATCH_LISTEN=127.0.0.1:0 "$chroot" --userspec="$user" "$root" "$@"
