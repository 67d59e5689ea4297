package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// describe is a file with a service, a message and comments, as buf writes it.
func describe(t *testing.T) []byte {
	t.Helper()
	str, msg := descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(), descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum()
	one, many := descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(), descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
	span := []int32{0, 0, 1}
	file := &descriptorpb.FileDescriptorProto{
		Name: proto.String("a/v1/a.proto"), Package: proto.String("a.v1"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{
			{Name: proto.String("Ask"), Field: []*descriptorpb.FieldDescriptorProto{
				{Name: proto.String("name"), JsonName: proto.String("name"), Number: proto.Int32(7), Type: str, Label: one},
				{Name: proto.String("more"), JsonName: proto.String("more"), Number: proto.Int32(8), Type: msg, TypeName: proto.String(".a.v1.Tell"), Label: many},
			}},
			{Name: proto.String("Tell")},
		},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("Talk"), Method: []*descriptorpb.MethodDescriptorProto{
			{Name: proto.String("Say"), InputType: proto.String(".a.v1.Ask"), OutputType: proto.String(".a.v1.Tell"), ServerStreaming: proto.Bool(true)},
			{Name: proto.String("Sing"), InputType: proto.String(".a.v1.Ask"), OutputType: proto.String(".a.v1.Tell")},
		}}},
		SourceCodeInfo: &descriptorpb.SourceCodeInfo{Location: []*descriptorpb.SourceCodeInfo_Location{
			{Path: []int32{6, 0}, Span: span, LeadingComments: proto.String(" Talk talks.\n")},
			{Path: []int32{6, 0, 2, 0}, Span: span, LeadingComments: proto.String(" Say says\n this|that.\n")},
			{Path: []int32{6, 0, 2, 1}, Span: span, LeadingComments: proto.String(" Sing sings. Not served\n yet.\n")},
			{Path: []int32{4, 0, 2, 0}, Span: span, LeadingComments: proto.String(" Whose.\n")},
		}},
	}
	set, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{file}})
	require.NoError(t, err)
	return set
}

func TestTheReferenceHasServicesMessagesAndComments(t *testing.T) {
	out := filepath.Join(t.TempDir(), "api.md")
	require.NoError(t, run(bytes.NewReader(describe(t)), []string{out}))
	got, err := os.ReadFile(out)
	require.NoError(t, err)
	require.Equal(t, intro+`
## Package a.v1

### a.v1.Talk

Talk talks.

| method | request | answer | served | what it does |
|---|---|---|---|---|
| `+"`Say`"+` | [Ask](#av1ask) | stream of [Tell](#av1tell) | yes | Say says this\|that. |
| `+"`Sing`"+` | [Ask](#av1ask) | [Tell](#av1tell) | later | Sing sings. Not served yet. |

### Messages of a.v1

#### a.v1.Ask

| no. | field | type | |
|---|---|---|---|
| 7 | `+"`name`"+` | string | Whose. |
| 8 | `+"`more`"+` | list of [Tell](#av1tell) |  |

#### a.v1.Tell

No fields.
`, string(got))
}

func TestWhatIsNoDescriptorChangesNothing(t *testing.T) {
	out := filepath.Join(t.TempDir(), "api.md")
	require.ErrorContains(t, run(bytes.NewReader([]byte("no descriptors")), []string{out}), "descriptors")
	require.NoFileExists(t, out)
	require.ErrorContains(t, run(bytes.NewReader(nil), nil), "file to write")
}
