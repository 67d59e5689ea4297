package hostconfig

// thisHost is a Linux distribution: the lists of crypto/x509 (root_linux.go) and
// time (zoneinfo_unix.go).
func thisHost() host {
	return host{
		environment: "/etc/environment",
		localtime:   "/etc/localtime",
		zoneinfo:    []string{"/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/zoneinfo"},
		certFiles: []string{
			"/etc/ssl/certs/ca-certificates.crt",                // Debian, Ubuntu, Arch
			"/etc/pki/tls/certs/ca-bundle.crt",                  // Fedora
			"/etc/ssl/ca-bundle.pem",                            // openSUSE
			"/etc/pki/tls/cacert.pem",                           // OpenELEC
			"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // RHEL 7
			"/etc/ssl/cert.pem",                                 // Alpine
		},
		certDirs: []string{"/etc/ssl/certs", "/etc/pki/tls/certs"},
	}
}
