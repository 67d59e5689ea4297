// Package share gives the guest directories of the host: a virtio file system
// device (VIRTIO 1.2, section 5.11) that is served in this process, with the FUSE
// protocol over it, passed through to the host's file systems.
//
//	shares.go, link.go       the port, and one machine's device
//	device.go, request.go    chains of the virtqueues as FUSE requests
//	session.go               one mount of the guest
//	tree.go, pins.go         the files that the guest knows, and their descriptors
//	identity.go, hidden.go   which file is which, and which must not be seen
//	owner.go, attributes.go  what the guest sees of owners and modes
//	lookup.go, create.go, remove.go, change.go, extended.go
//	handles.go, open.go, data.go, directory.go, listing.go
//
// # Who may do what
//
// Every access is made as the user who runs this process, whatever ids the guest
// asks with: what that user may not do the guest may not, and nothing else is
// checked. The guest has to mount the device without permission checks of its own
// (the kernel's default_permissions), or ids that are not root's are refused there.
//
// A file of this user is seen as root's in the guest, since most containers run as
// root and many programs insist that their files are their own. Files of others keep
// their numbers. A change of owner, and the ids of a creator who is not root, change
// nothing on the host but are remembered in the extended attribute OwnerAttribute,
// where the host's file system has those, and otherwise until the guest forgets the
// file. Permission bits are the host's. Set-user-id and set-group-id bits of regular
// files are neither stored nor seen: on the host they would give away this user, in
// the guest its root. Device nodes cannot be made, and none of the host is opened.
//
// # What is safe
//
// The guest names files by numbers that it was given and by single names below
// them. Names are looked up relative to a descriptor and never through a symbolic
// link; whatever is opened is found by its descriptor first and known to be a
// regular file or a directory. So nothing above a share can be reached. Directories
// that are mounted below a share belong to it, but file systems that are windows
// into the kernel, such as /proc, do not.
//
// # What is seen when
//
// The guest asks for a file whenever it is named, and data that it has cached is only
// used again when the file on the host is the same, so that edits on the host are
// seen at once; a file that is open already, or a directory on the way, may be as it
// was for the times in Cache. The guest writes through: what write
// returned is in the host's page cache, what fsync returned is where the host puts
// it.
package share
