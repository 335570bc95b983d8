// SPDX-License-Identifier: Apache-2.0

package pid1

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Places in the machine. A configuration names them.
const (
	// ConfigFolder has the files of the configuration disk, in memory.
	ConfigFolder = "/run/assay/config"
	// ConfigFile is the daemon's configuration, MachineFile that of this package.
	ConfigFile  = "assayd.yaml"
	MachineFile = "machine.yaml"
	// StateFolder is where the disk with the state is mounted.
	StateFolder = "/var/lib/assay"
	// WorkloadSocket leads to the Workload API outside of the machine.
	WorkloadSocket = "/run/assay/workload.sock"

	modulesFolder = "/lib/assay/modules" // package image puts them there
	program       = "/init"
)

// startTimeout bounds everything before the daemon starts. A machine without KVM
// needs three seconds.
const startTimeout = 2 * time.Minute

// Here says whether this process is the first of a machine that was started from the
// image: the kernel runs /init of an initramfs. A container has a first process too,
// but not on a file system in memory under that name.
func Here() bool {
	var root unix.Statfs_t
	return os.Getpid() == 1 && len(os.Args) > 0 && os.Args[0] == program && unix.Statfs("/", &root) == nil &&
		(root.Type == unix.RAMFS_MAGIC || root.Type == unix.TMPFS_MAGIC)
}

// Run makes the machine ready, runs daemon with the path of its configuration, and
// switches the machine off. daemon's context ends when somebody presses the power
// button; what it returns is of no interest, as it has told it. Run returns only where
// not even switching off is possible, and then the kernel ends the machine, since its
// first process ended.
func Run(log *slog.Logger, daemon func(ctx context.Context, config string)) {
	if !Here() {
		log.Error("not the first process of a machine", "path", program)
		return
	}
	if err := run(log, daemon); err != nil {
		log.Error("machine cannot go on", "err", err)
	}
	unix.Sync()
	if err := unix.Unmount(StateFolder, 0); err != nil && !errors.Is(err, unix.EINVAL) {
		log.Error("disk with the state was not unmounted", "path", StateFolder, "err", err)
	}
	log.Info("switching off")
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		log.Error("machine does not switch off", "err", err)
	}
}

// run is Run up to switching off.
func run(log *slog.Logger, daemon func(ctx context.Context, config string)) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	machine, err := prepare(ctx, log)
	if err != nil {
		return err
	}
	reaping := make(chan os.Signal, 1)
	signal.Notify(reaping, unix.SIGCHLD)
	defer signal.Stop(reaping)
	wg.Go(func() { reap(ctx, reaping) })
	watchButtons(ctx, &wg, stop, log)
	if machine.WorkloadAPI != "" {
		l, err := (&net.ListenConfig{}).Listen(ctx, "unix", WorkloadSocket)
		if err != nil {
			return fmt.Errorf("making socket of the Workload API: %w", err)
		}
		// The daemon needs it until it has drained.
		relayed, end := context.WithCancel(context.WithoutCancel(ctx))
		defer end()
		wg.Go(func() { relay(relayed, l, machine.WorkloadAPI, log) })
	}
	daemon(ctx, filepath.Join(ConfigFolder, ConfigFile))
	return nil
}

// prepare does everything that the daemon needs.
func prepare(ctx context.Context, log *slog.Logger) (Machine, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	// Ctrl-Alt-Del asks, as the power button does.
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF); err != nil {
		return Machine{}, fmt.Errorf("taking Ctrl-Alt-Del: %w", err)
	}
	if err := mountAll(mounts); err != nil {
		return Machine{}, err
	}
	loaded, err := loadModules(modulesFolder, func(f *os.File) error {
		return unix.FinitModule(int(f.Fd()), "", unix.MODULE_INIT_COMPRESSED_FILE)
	}, func(err error) bool { return errors.Is(err, unix.ENODEV) })
	if err != nil {
		return Machine{}, err
	}
	log.InfoContext(ctx, "modules loaded", "path", loaded)
	// Of a module that was loaded.
	if err := mountAll([]mount{{"configfs", "/sys/kernel/config", "", noDevices}}); err != nil {
		return Machine{}, err
	}
	if err := readConfig(ctx); err != nil {
		return Machine{}, err
	}
	text, err := os.ReadFile(filepath.Join(ConfigFolder, MachineFile))
	if err != nil {
		return Machine{}, fmt.Errorf("reading configuration: %w", err)
	}
	machine, err := ParseMachine(MachineFile, text)
	if err != nil {
		return Machine{}, err
	}
	if err := configureNetwork(ctx, machine); err != nil {
		return Machine{}, err
	}
	if err := os.WriteFile("/etc/resolv.conf", machine.resolvConf(), 0o644); err != nil { //nolint:gosec // G306: there is one user
		return Machine{}, err
	}
	name, err := findDisk(ctx, "/sys/block", StateDisk)
	if err != nil {
		return Machine{}, err
	}
	if err := unix.Mount("/dev/"+name, StateFolder, "ext4", noDevices, "errors=remount-ro"); err != nil {
		return Machine{}, fmt.Errorf("mounting disk %s: %w; make its file system with mke2fs -t ext4", StateDisk, err)
	}
	log.InfoContext(ctx, "machine is ready", "peer", machine.Address)
	return machine, nil
}

// A mount is one of mount(2).
type mount struct {
	kind, dir, data string
	flags           uintptr
}

// noDevices are flags of file systems that hold data alone.
const noDevices = unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOEXEC

var mounts = []mount{
	{"proc", "/proc", "", noDevices},
	{"sysfs", "/sys", "", noDevices},
	{"securityfs", "/sys/kernel/security", "", noDevices},
	{"devtmpfs", "/dev", "mode=0755", unix.MS_NOSUID | unix.MS_NOEXEC},
	{"tmpfs", "/run", "mode=0755,size=128m", noDevices},
	{"tmpfs", "/tmp", "mode=1777,size=64m", noDevices},
}

func mountAll(mounts []mount) error {
	for _, m := range mounts {
		if err := os.MkdirAll(m.dir, 0o755); err != nil { //nolint:gosec // G301: there is one user
			return fmt.Errorf("mounting %s: %w", m.dir, err)
		}
		if err := unix.Mount(m.kind, m.dir, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("mounting %s: %w", m.dir, err)
		}
	}
	return nil
}

// readConfig copies the files of the configuration disk into memory.
func readConfig(ctx context.Context) (err error) {
	name, err := findDisk(ctx, "/sys/block", ConfigDisk)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(ConfigFolder, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(ConfigFolder)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	disk, err := os.Open("/dev/" + name)
	if err != nil {
		return err
	}
	return errors.Join(unpack(disk, root), disk.Close())
}

// reap takes note of the end of processes that nobody else waits for: in a machine,
// all that lost their parent are children of the first one.
func reap(ctx context.Context, died <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-died:
		}
		for {
			if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != nil || pid <= 0 {
				break
			}
		}
	}
}

// watchButtons calls pressed when the power button is. A machine without one is told,
// and can be ended by its host alone.
func watchButtons(ctx context.Context, wg *sync.WaitGroup, pressed func(), log *slog.Logger) {
	paths, err := filepath.Glob("/dev/input/event*")
	if err != nil || len(paths) == 0 {
		log.WarnContext(ctx, "no power button", "path", "/dev/input")
		return
	}
	for _, path := range paths {
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			log.WarnContext(ctx, "power button cannot be read", "path", path, "err", err)
			continue
		}
		wg.Go(func() {
			<-ctx.Done()
			_ = f.Close() // which ends the read
		})
		wg.Go(func() {
			if yes, err := waitForButton(f); yes {
				log.InfoContext(ctx, "power button pressed")
				pressed()
			} else if err != nil && ctx.Err() == nil {
				log.WarnContext(ctx, "power button cannot be read", "path", path, "err", err)
			}
		})
	}
}
