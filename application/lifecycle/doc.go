// Package lifecycle runs one virtual machine: it boots it when somebody needs
// it, watches it, idles it and stops it. The rules are domain.Transition; here
// is the actor that obeys them, one goroutine per machine, and the tasks that
// do the slow work. Reading the state never waits for either.
package lifecycle
