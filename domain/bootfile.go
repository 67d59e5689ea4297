package domain

import "fmt"

// FileFacts is what looking at a file tells, without reading it.
type FileFacts struct {
	Exists     bool
	Regular    bool
	Executable bool  // for anyone
	Size       int64 // bytes
}

// CheckBootFile says why a file that the guest needs cannot be used, with the
// command that mends it as hint; nil when it can. what names it for the user
// ("guest agent", "runtime binary dockerd"), path is where it should be.
func CheckBootFile(what, path string, f FileFacts) error {
	switch {
	case !f.Exists:
		return WithHint(fmt.Errorf("%s is missing: %s: %w", what, path, ErrNotFound),
			"run `arcbox boot prefetch` to fetch it")
	case !f.Regular:
		return WithHint(fmt.Errorf("%s is not a regular file: %s: %w", what, path, ErrInvalidState),
			"remove it, then run `arcbox boot prefetch` to fetch it")
	case f.Size == 0:
		return WithHint(fmt.Errorf("%s is empty: %s: %w", what, path, ErrCorrupt),
			"run `arcbox boot prefetch --force` to fetch it again")
	case !f.Executable:
		return WithHint(fmt.Errorf("%s is not executable: %s: %w", what, path, ErrPermission),
			"run `chmod +x "+path+"`")
	}
	return nil
}
