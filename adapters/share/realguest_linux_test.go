package share

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

// realGuest boots the kernel and the root file system that images/ builds, with the
// shares, and has it run the file "run" of the first share. It returns what that
// printed.
func realGuest(t *testing.T, o Options, shares []domain.Share, limit time.Duration) string {
	t.Helper()
	assets, err := filepath.Abs("../../build/assets/x86_64")
	require.NoError(t, err)
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil || testing.Short() {
		t.Skip("needs QEMU and time")
	}
	for _, f := range []string{"kernel", "rootfs.erofs"} {
		if _, err := os.Stat(filepath.Join(assets, f)); err != nil {
			t.Skip("needs what images/build.sh makes")
		}
	}
	s, err := New(o)
	require.NoError(t, err)
	l, err := s.Open("real", shares)
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, qemu, []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-machine", "q35,memory-backend=mem,hpet=off,smm=off,i8042=off,sata=off,smbus=off,usb=off,vmport=off",
		"-accel", "tcg,thread=multi", "-cpu", "max,erms=off,fsrm=off", "-smp", "2", "-m", "1024M",
		"-object", "memory-backend-memfd,id=mem,size=1024M,share=on",
		"-kernel", filepath.Join(assets, "kernel"),
		"-append", "console=ttyS0 quiet root=/dev/vda ro rootfstype=erofs init=/usr/bin/sh -- -c mount${IFS}-tvirtiofs${IFS}arcbox${IFS}/mnt;.${IFS}/mnt/0/run;poweroff${IFS}-f",
		"-serial", "stdio",
		"-blockdev", "driver=raw,node-name=disk0,read-only=on,file.driver=file,file.filename=" + filepath.Join(assets, "rootfs.erofs"),
		"-device", "virtio-blk-pci,drive=disk0",
		"-device", "pcie-root-port,id=hotplug0,chassis=1,io-reserve=0",
		"-chardev", "socket,id=fs0,path=/proc/self/fd/3",
		"-device", "vhost-user-fs-pci,bus=hotplug0,chardev=fs0,tag=arcbox,queue-size=1024,vectors=0",
	}...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.ExtraFiles = []*os.File{l.File()}
	cmd.WaitDelay = 5 * time.Second
	require.NoError(t, cmd.Run(), "%s\n%s", out.String(), errs.String())
	return out.String()
}

// What a kernel makes of the device: files in use that
// lose their names, ids, the rights of shares, and the host's changes at once.
func TestInARealGuest(t *testing.T) {
	dir, readOnly := t.TempDir(), t.TempDir()
	put(t, "kept", readOnly, "f")
	put(t, "from the host", dir, "in")
	big := put(t, strings.Repeat("0123456789abcdef", 1<<17), dir, "big") // 2 MiB
	put(t, `
mount -t proc proc /proc
cd /mnt/0
echo "read: $(cat in)"
dd if=big of=copy bs=300k conv=fsync 2>/dev/null && cmp big copy && echo copied
mkdir -p deep/er; echo a > deep/er/a; mv deep/er moved; mv moved/a moved/b; echo "moved: $(cat moved/b)"
exec 5<moved/b; echo other > new; mv new moved/b; echo "open: $(cat <&5), new: $(cat moved/b)"; exec 5<&-
ln -s in sym; echo "link: $(cat sym)"; ln in hard; stat -c 'links: %h' in
echo one > log; echo two >> log; chown 999:998 log; stat -c 'owner: %u:%g' log; stat -c 'default: %u:%g' in

i=0; while [ $i -lt 300 ]; do echo $i > deep/$i; i=$((i+1)); done; echo "files: $(ls deep | wc -l)"
rm -r deep && echo removed
touch /mnt/1/x 2>&1; rm /mnt/1/f 2>&1 </dev/null; echo "read-only: $(cat /mnt/1/f)"
ls /mnt; sync; echo over
`, dir, "run")
	out := strings.ReplaceAll(realGuest(t, Options{Cache: DefaultCache(), Log: slog.New(slog.DiscardHandler)},
		[]domain.Share{{Path: dir}, {Path: readOnly, ReadOnly: true}}, 2*time.Minute), "\r", "")
	for _, want := range []string{
		"read: from the host\n", "copied\n", "moved: a\n", "open: a, new: other\n", "link: from the host\n", "links: 2\n",
		"owner: 999:998\n", "default: 0:0\n", "files: 300\n", "removed\n",
		"touch: /mnt/1/x: Read-only file system\n", "read-only: kept\n", "over\n",
	} {
		require.Contains(t, out, want)
	}
	require.Equal(t, content(t, big), content(t, dir, "copy"))
	require.Equal(t, "one\ntwo\n", content(t, dir, "log"))
	require.Equal(t, "other\n", content(t, dir, "moved", "b"))
	require.NoDirExists(t, filepath.Join(dir, "deep"))
}
