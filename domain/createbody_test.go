package domain_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestBindSourcesOfACreateBody(t *testing.T) {
	for body, want := range map[string][]string{
		``:                    {},
		`null`:                {},
		`[]`:                  {},
		`{"HostConfig":`:      {},
		`{"HostConfig":null}`: {},
		`{"HostConfig":[1]}`:  {},
		`{"Image":"x"}`:       {},
		`{"HostConfig":{"Binds":["/a:/b","name:/c","/d","/e:/f:ro,z","/g:/h:ro:x",":/i",7,null,"./j:/k"]}}`: {"/a", "/e"},
		`{"hostconfig":{"BINDS":["/a:/b"]}}`:                    {"/a"},
		`{"Ho\u0073tConfig":{"Bind\u0073":["\/a b\u00fc:/b"]}}`: {"/a bü"},
		`{"HostConfig":{"Bindſ":["/a:/b"]}}`:                    {"/a"},
		`{"HostConfig":{"Binds":["/a:/b"]}}} trailing`:          {"/a"},
		`{"HostConfig":{"Mounts":[{"Type":"bind","Source":"/a:b"},{"Type":"volume","Source":"/v"},{"Source":"/n"},null,{"type":"bind","source":"\\c"},{"Type":"bind","Source":"rel"},{"Type":"Bind","Source":"/x"},{"Type":"bind","Source":null}]}}`: {"/a:b", `\c`},
	} {
		b, err := domain.ParseCreateBody([]byte(body))
		require.NoError(t, err, body)
		require.Equal(t, want, b.Sources(), body)
		require.Nil(t, b.Bytes(), "nothing was changed")
	}
	for _, body := range []string{
		`{"HostConfig":{},"hostConfig":{}}`,
		`{"HostConfig":{"Binds":[],"binds":["/a:/b"]}}`,
		`{"HostConfig":{"Mounts":[],"Mounts":[]}}`,
		`{"HostConfig":{"Mounts":[{"Type":"bind","Source":"/a","source":"/b"}]}}`,
		`{"HostConfig":{"Mounts":[{"Type":"bind","type":"volume","Source":"/a"}]}}`,
		`{"Env":[],"env":[]}`,
	} {
		_, err := domain.ParseCreateBody([]byte(body))
		require.ErrorIs(t, err, domain.ErrInvalid, body)
		require.ErrorContains(t, err, "twice")
	}
}

func TestBindSourcesOfAServiceBody(t *testing.T) {
	b, err := domain.ParseServiceBody([]byte(`{"Name":"x","taskTemplate":{"ContainerSpec":{"Image":"y","Mounts":[{"Type":"bind","Source":"/a"},{"Source":"v"}]}}}`))
	require.NoError(t, err)
	require.Equal(t, []string{"/a"}, b.Sources())
	require.NoError(t, b.SetSource(0, "/b"))
	require.Equal(t, `{"Name":"x","taskTemplate":{"ContainerSpec":{"Image":"y","Mounts":[{"Type":"bind","Source":"/b"},{"Source":"v"}]}}}`, string(b.Bytes()))
	_, err = domain.ParseServiceBody([]byte(`{"TaskTemplate":{"ContainerSpec":{},"containerSpec":{}}}`))
	require.ErrorIs(t, err, domain.ErrInvalid)
	b, err = domain.ParseServiceBody([]byte(`{"TaskTemplate":7}`))
	require.NoError(t, err)
	require.Empty(t, b.Sources())
}

func TestChangesLeaveTheRestAsItIs(t *testing.T) {
	b, err := domain.ParseCreateBody([]byte(" {\"Image\" : \"\\u0041\", \"n\":1.50e1,\"HostConfig\" : {\n\"Binds\":[ \"/a:/b:ro,z\" , \"v:/w\"],\"X\":[{}],\"Mounts\":[{\"Source\" : \"/c\",\"Type\":\"bind\",\"BindOptions\":{\"Y\":null}}] } }\n}"))
	require.NoError(t, err)
	require.NoError(t, b.SetSource(1, `/new "c"`))
	require.NoError(t, b.SetSource(0, "/new a"))
	b.AddBind("/x:/y:ro")
	b.AddEnv([]string{"A=1"})
	require.Equal(t, " {\"Image\" : \"\\u0041\", \"n\":1.50e1,\"HostConfig\" : {\n\"Binds\":[ \"/new a:/b:ro,z\" , \"v:/w\",\"/x:/y:ro\"],\"X\":[{}],\"Mounts\":[{\"Source\" : \"/new \\\"c\\\"\",\"Type\":\"bind\",\"BindOptions\":{\"Y\":null}}] } ,\"Env\":[\"A=1\"]}\n}", string(b.Bytes()))

	b, err = domain.ParseCreateBody([]byte(`{"HostConfig":{"Binds":["/a:/b"],"Mounts":[{"Type":"bind","Source":"/a","Target":"/c/"}]}}`))
	require.NoError(t, err)
	require.NoError(t, b.SetSource(0, "/a"))
	require.Nil(t, b.Bytes(), "it is the same")
	require.ErrorIs(t, b.SetSource(0, "/a:b"), domain.ErrInvalid)
	require.NoError(t, b.SetSource(1, "/a:b"))
	require.True(t, b.Targets("/b"))
	require.True(t, b.Targets("/c"))
	require.False(t, b.Targets("/a"))
}

func TestAdditions(t *testing.T) {
	for body, want := range map[string]string{
		`{}`:                              `{"HostConfig":{"Binds":["/x:/y"]},"Env":["A=1","a=2","B="]}`,
		`{"HostConfig":null,"Env":null}`:  `{"HostConfig":{"Binds":["/x:/y"]},"Env":["A=1","a=2","B="]}`,
		`{"HostConfig":{}}`:               `{"HostConfig":{"Binds":["/x:/y"]},"Env":["A=1","a=2","B="]}`,
		`{"HostConfig":{"Binds":null}}`:   `{"HostConfig":{"Binds":["/x:/y"]},"Env":["A=1","a=2","B="]}`,
		`{"HostConfig":{"Binds":[ ]}}`:    `{"HostConfig":{"Binds":[ "/x:/y"]},"Env":["A=1","a=2","B="]}`,
		`{"HostConfig":{"Z":1}}`:          `{"HostConfig":{"Z":1,"Binds":["/x:/y"]},"Env":["A=1","a=2","B="]}`,
		`{"env":["a=7"],"HostConfig":{}}`: `{"env":["a=7","B="],"HostConfig":{"Binds":["/x:/y"]}}`,
		`{"Env":["A","b"]}`:               `{"Env":["A","b"],"HostConfig":{"Binds":["/x:/y"]}}`,
		`{"Env":7,"HostConfig":8}`:        ``,
		`{"HostConfig":{"Binds":{}}}`:     `{"HostConfig":{"Binds":{}},"Env":["A=1","a=2","B="]}`,
		`nonsense`:                        ``,
	} {
		b, err := domain.ParseCreateBody([]byte(body))
		require.NoError(t, err)
		b.AddBind("/x:/y")
		b.AddEnv([]string{"A=1", "a=2", "A=3", "B="})
		require.Equal(t, want, string(b.Bytes()), body)
		require.True(t, want == "" || json.Valid(b.Bytes()))
	}
}
