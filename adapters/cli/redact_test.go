package cli

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSecretsAreHidden(t *testing.T) {
	for before, after := range map[string]string{
		`http = "http://user:hunter2@proxy:3128"`:                                    `http = "http://***@proxy:3128"`,
		`http_proxy=http://ann:p@ss/w:rd@proxy:3128/`:                                `http_proxy=http://***@proxy:3128/`,
		`https = "user:hunter2@proxy:3128"`:                                          `https = "***@proxy:3128"`,
		"Authorization: Basic dXNlcjpodW50ZXIy\nHost: x":                             "Authorization: ***\nHost: x",
		`"X-Registry-Auth":["eyJ1c2VybmFtZSI6ImEifQ=="]`:                             `"X-Registry-Auth":[***]`,
		`sent header "bearer abcdefghij.klm"`:                                        `sent header "bearer ***"`,
		`MYSQL_ROOT_PASSWORD=hunter2 HOME=/x`:                                        `MYSQL_ROOT_PASSWORD=*** HOME=/x`,
		`{"level":"info","password":"hun\"ter2","port":80}`:                          `{"level":"info","password":***,"port":80}`,
		`msg="body {\"apiKey\":\"hunter2\",\"a\":1}"`:                                `msg="body {\"apiKey\":***,\"a\":1}"`,
		`env [A=1 AWS_SECRET_ACCESS_KEY=hunter2]`:                                    `env [A=1 AWS_SECRET_ACCESS_KEY=***]`,
		`docker login --password hunter2 registry`:                                   `docker login --password *** registry`,
		`GET /blob?X-Amz-Signature=hunter2&x=1`:                                      `GET /blob?X-Amz-Signature=***&x=1`,
		"a\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nb": "a\n***\nb",
		"-----BEGIN PRIVATE KEY-----\nMIIEhunter2":                                   "***",
		"MIIEhunter2AAAAAAAAAA\n-----END PRIVATE KEY-----\nb":                        "***\nb",
		"pushed with ghp_0123456789abcdefghij":                                       "pushed with ***",
		"open /home/ann/.arcbox/run":                                                 "open ~/.arcbox/run",
	} {
		got := redact(before, "/home/ann")
		require.Equal(t, after, got, before)
		require.Equal(t, got, redact(got, "/home/ann"), "once is enough")
	}
}

func TestHarmlessTextStays(t *testing.T) {
	for _, text := range []string{
		`time=2026-11-24T16:12:17Z level=INFO msg="the daemon runs" pid=4711`,
		"pulled docker.io/library/nginx:1.29@sha256:0123456789abcdef",
		"GET https://example.org/v2/library/nginx/manifests/latest 200",
		"listening on [::1]:8080 and 127.0.0.1:80/tcp",
		"vm.cpus = 4 # four",
		"",
	} {
		require.Equal(t, text, redact(text, "/"))
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("level=info ", " next", 0)
	f.Add("x=\"", "\"", 3)
	f.Fuzz(func(t *testing.T, before, after string, kind int) {
		const secret = "Zq7hunter2Zq7"
		if strings.Contains(before, secret) || strings.Contains(after, secret) || strings.ContainsAny(before, `"'\`) {
			return
		}
		forms := []string{"http://u:" + secret + "@h/", "password=" + secret, "\nAuthorization: Basic " + secret + "\n", `{"token":"` + secret + `"}`,
			"-----BEGIN PRIVATE KEY-----\n" + secret + "\n-----END PRIVATE KEY-----"}
		text := before + " " + forms[(kind%len(forms)+len(forms))%len(forms)] + " " + after
		got := redact(text, "/home/ann")
		require.NotContains(t, got, secret, text)
	})
}
