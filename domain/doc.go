// Package domain holds ArcBox's types and rules. Nothing in it does I/O: every
// function is a decision on values, and every rule is stated once, here.
package domain
