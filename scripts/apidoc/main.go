// Command apidoc writes the reference of the API: it reads the descriptors, with
// comments, from its standard input and writes Markdown to the file that it is
// given.
package main

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

//go:embed intro.md
var intro string

func main() {
	if err := run(os.Stdin, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "apidoc:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, args []string) error {
	if len(args) != 1 {
		return errors.New("want the file to write")
	}
	set, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("read the descriptors: %w", err)
	}
	files, err := parse(set)
	if err != nil {
		return err
	}
	return os.WriteFile(args[0], []byte(intro+render(files)), 0o644)
}

// parse returns the files that have a Go package of this module, by path.
func parse(set []byte) ([]protoreflect.FileDescriptor, error) {
	var fds descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(set, &fds); err != nil {
		return nil, fmt.Errorf("parse the descriptors: %w", err)
	}
	all, err := protodesc.NewFiles(&fds)
	if err != nil {
		return nil, fmt.Errorf("link the descriptors: %w", err)
	}
	var files []protoreflect.FileDescriptor
	for _, fd := range fds.File {
		f, err := all.FindFileByPath(fd.GetName())
		if err != nil {
			return nil, err
		}
		if f.Package().Parent() != "google" {
			files = append(files, f)
		}
	}
	return files, nil
}
