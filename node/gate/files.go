// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"github.com/assayd/assay/verdict"
)

// errUnsafe says that someone else could have written a file or folder.
var errUnsafe = errors.New("want nobody but its owner to write it")

// stateCode is the code of an error of the state folder: agent.state where others
// could have written it, and else what is missing then.
func stateCode(err error, missing verdict.Code) verdict.Code {
	if errors.Is(err, errUnsafe) {
		return verdict.AgentState
	}
	return missing
}

// readOwned reads a regular file of at most limit bytes that belongs to root, to
// the user of this process or to one of uids, and that nobody else may write:
// whoever can write it decides what runs on this node. The last element of the
// path is never a symbolic link, and a device or FIFO does not hang the reader.
func readOwned(path string, limit int64, uids []uint32) (data []byte, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if err := checkOwned(path, info, uids); err != nil {
		return nil, err
	}
	data, err = io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return data, nil
}

// checkOwned refuses a file or folder that someone else could have written.
func checkOwned(path string, info fs.FileInfo, uids []uint32) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: this platform does not tell who owns it", path)
	}
	if euid := os.Geteuid(); stat.Uid != 0 && int64(stat.Uid) != int64(euid) && !slices.Contains(uids, stat.Uid) {
		return fmt.Errorf("%s belongs to user %d and not to root, %w", path, stat.Uid, errUnsafe)
	}
	if perm := info.Mode().Perm(); perm&0o022 != 0 {
		return fmt.Errorf("%s has mode %04o, %w", path, perm, errUnsafe)
	}
	return nil
}
