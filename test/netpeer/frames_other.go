//go:build !linux

package main

import "errors"

func frames(string, int, uint64) error { return errors.New("frames needs Linux") }
