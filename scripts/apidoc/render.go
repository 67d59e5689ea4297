package main

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// notYet marks, in the comment of a method or of its service, what the daemon
// answers UNIMPLEMENTED to.
const notYet = "Not served yet."

// render describes the services of every package, and then its messages.
func render(files []protoreflect.FileDescriptor) string {
	files = slices.Clone(files)
	slices.SortStableFunc(files, func(a, b protoreflect.FileDescriptor) int {
		if a.Package() != b.Package() {
			return strings.Compare(string(a.Package()), string(b.Package()))
		}
		return strings.Compare(a.Path(), b.Path())
	})
	var w strings.Builder
	for from := 0; from < len(files); {
		to := from
		for to < len(files) && files[to].Package() == files[from].Package() {
			to++
		}
		pkg(&w, files[from:to])
		from = to
	}
	return w.String()
}

func pkg(w *strings.Builder, files []protoreflect.FileDescriptor) {
	fmt.Fprintf(w, "\n## Package %s\n", files[0].Package())
	for _, f := range files {
		for s := range list(f.Services()) {
			service(w, s)
		}
	}
	fmt.Fprintf(w, "\n### Messages of %s\n", files[0].Package())
	for _, f := range files {
		for m := range list(f.Messages()) {
			message(w, m)
		}
		for e := range list(f.Enums()) {
			enum(w, e)
		}
	}
}

func service(w *strings.Builder, s protoreflect.ServiceDescriptor) {
	text := comment(s)
	fmt.Fprintf(w, "\n### %s\n\n%s\n\n| method | request | answer | served | what it does |\n|---|---|---|---|---|\n", s.FullName(), text)
	for m := range list(s.Methods()) {
		served := "yes"
		if strings.Contains(text+comment(m), notYet) {
			served = "later"
		}
		fmt.Fprintf(w, "| `%s` | %s | %s | %s | %s |\n", m.Name(),
			stream(m.IsStreamingClient(), m.Input()), stream(m.IsStreamingServer(), m.Output()), served, comment(m))
	}
}

func stream(many bool, m protoreflect.MessageDescriptor) string {
	if many {
		return "stream of " + link(m)
	}
	return link(m)
}

func message(w *strings.Builder, m protoreflect.MessageDescriptor) {
	if m.IsMapEntry() {
		return
	}
	heading(w, m)
	if m.Fields().Len() == 0 {
		fmt.Fprint(w, "\nNo fields.\n")
		return
	}
	fmt.Fprint(w, "\n| no. | field | type | |\n|---|---|---|---|\n")
	for f := range list(m.Fields()) {
		fmt.Fprintf(w, "| %d | `%s` | %s | %s |\n", f.Number(), f.Name(), fieldType(f), comment(f))
	}
	for n := range list(m.Messages()) {
		message(w, n)
	}
	for e := range list(m.Enums()) {
		enum(w, e)
	}
}

func enum(w *strings.Builder, e protoreflect.EnumDescriptor) {
	heading(w, e)
	fmt.Fprint(w, "\n| no. | value | |\n|---|---|---|\n")
	for v := range list(e.Values()) {
		fmt.Fprintf(w, "| %d | `%s` | %s |\n", v.Number(), v.Name(), comment(v))
	}
}

func heading(w *strings.Builder, d protoreflect.Descriptor) {
	fmt.Fprintf(w, "\n#### %s\n", d.FullName())
	if text := comment(d); text != "" {
		fmt.Fprintf(w, "\n%s\n", text)
	}
}

func fieldType(f protoreflect.FieldDescriptor) string {
	switch {
	case f.IsMap():
		return "map of " + fieldType(f.MapKey()) + " to " + fieldType(f.MapValue())
	case f.IsList():
		return "list of " + scalar(f)
	case f.ContainingOneof() != nil && !f.HasOptionalKeyword():
		return scalar(f) + ", one of " + string(f.ContainingOneof().Name())
	}
	return scalar(f)
}

func scalar(f protoreflect.FieldDescriptor) string {
	switch {
	case f.Message() != nil:
		return link(f.Message())
	case f.Enum() != nil:
		return link(f.Enum())
	}
	return f.Kind().String()
}

// link leads to the heading of d, when this page has it.
func link(d protoreflect.Descriptor) string {
	if d.ParentFile().Package().Parent() == "google" {
		return string(d.FullName())
	}
	return fmt.Sprintf("[%s](#%s)", d.Name(), strings.ToLower(strings.ReplaceAll(string(d.FullName()), ".", "")))
}

// comment is what stands above d, as one line that a table can hold.
func comment(d protoreflect.Descriptor) string {
	text := strings.Join(strings.Fields(d.ParentFile().SourceLocations().ByDescriptor(d).LeadingComments), " ")
	return strings.ReplaceAll(text, "|", "\\|")
}

// list ranges over one of protobuf's lists.
func list[D any](l interface {
	Len() int
	Get(int) D
}) func(func(D) bool) {
	return func(yield func(D) bool) {
		for i := range l.Len() {
			if !yield(l.Get(i)) {
				return
			}
		}
	}
}
