package tun

import "strings"

// UnitName is the name of the systemd unit that makes the device at boot.
const UnitName = "arcbox-network.service"

// unitMark begins our unit; a file without it is not touched.
const unitMark = "# Written by arcbox network install; arcbox network uninstall removes it."

// IsOurUnit reports whether the content of a file is a unit of ours.
func IsOurUnit(content string) bool { return strings.HasPrefix(content, unitMark) }

// Unit returns the unit that does plan with the ip command at the path ip. It
// does not run arcbox itself: that is often in a place that its user can write
// to, and root must not run what others can replace.
func Unit(ip string, plan []Action) string {
	var b strings.Builder
	b.WriteString(unitMark + `

[Unit]
Description=The host's way to ArcBox containers
After=network-pre.target
Before=network.target

[Service]
Type=oneshot
RemainAfterExit=yes
`)
	for _, a := range plan {
		args := a.Args()
		if args == nil {
			continue
		}
		b.WriteString("ExecStart=")
		switch {
		case a.Kind == CreateDevice, a.Kind == AddAddress, a.Kind == AddRoute:
			b.WriteByte('-') // there already when the unit is started again
		}
		b.WriteString(ip)
		if a.Kind == AddRoute && a.Prefix.Addr().Is6() || a.Kind == AddAddress && a.Address.Is6() {
			b.WriteString(" -6")
		}
		b.WriteString(" " + strings.Join(args, " ") + "\n")
	}
	b.WriteString(`
[Install]
WantedBy=multi-user.target
`)
	return b.String()
}
