package hostfile

import (
	"os"
	"syscall"
)

// Identity changes whenever a file is written to or replaced: what is known of
// its content holds as long as this stays. It is kept in files, as JSON.
type Identity struct {
	Size    int64  `json:"size"`     // bytes
	MtimeNS int64  `json:"mtime_ns"` // since 1970
	Inode   uint64 `json:"inode"`
}

// IdentityOf reads fi, which must be of this host.
func IdentityOf(fi os.FileInfo) Identity {
	id := Identity{Size: fi.Size(), MtimeNS: fi.ModTime().UnixNano()}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		id.Inode = st.Ino
	}
	return id
}
