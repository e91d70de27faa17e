package core

import (
	"runtime"
	"sync"
)

// Run calls f on the one thread that opens OpenMP's parallel regions, and waits
// for it. Calls come one after the other.
//
// libgomp keeps a pool of threads for each thread that opens a parallel region.
// Goroutines move between threads, so without Run a program ends up with as many
// pools as it has threads, which compete for the same processors (three times
// slower, measured). The hand-over costs some microseconds: give it a whole
// step or batch. f must not call Run.
func Run(f func() error) error {
	executor.once.Do(startExecutor)
	j := job{f: f, done: make(chan result, 1)}
	executor.jobs <- j
	r := <-j.done
	if r.panicked != nil {
		panic(r.panicked)
	}
	return r.err
}

type job struct {
	f    func() error
	done chan result
}

type result struct {
	err      error
	panicked any
}

var executor struct {
	once sync.Once
	jobs chan job
}

func startExecutor() {
	executor.jobs = make(chan job)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread's pool lives as long as the program
		for j := range executor.jobs {
			j.done <- call(j.f)
		}
	}()
}

// call runs f and catches its panic, which belongs to the caller of Run.
func call(f func() error) (r result) {
	defer func() {
		if p := recover(); p != nil {
			r.panicked = p
		}
	}()
	return result{err: f()}
}
