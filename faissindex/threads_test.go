package faissindex

import (
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/nln"
)

// Goroutines on threads of their own search in turn, and then search and compute
// at the same time. All get
// the results that one alone gets, and no thread brings a pool of its own: there
// are at most one pool of the searches and one of OpenMP.
func TestManyThreadsShareThePools(t *testing.T) {
	const (
		callers, threads = 16, 6
		dim, n, k        = 32, 40_000, 3 // codes enough to divide one query's search
		queries          = 40
		spare            = callers // threads that the Go runtime may add; as many pools would be 5 times as many
	)
	defer torch.SetThreads(0)
	if err := torch.SetThreads(threads); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(21, 22))
	v, q := latents(rng, n, dim), latents(rng, queries, dim)
	exact := newIndex(t, dim, v)
	lists, _ := chosen(t, IVF, dim, v[:8000*dim], q, k)
	wantExact, wantLists := find(t, exact, q, k), find(t, lists, q, k)
	product := func() error {
		return torch.Run(func() error {
			s := torch.NewScope(torch.CPU)
			defer s.Close()
			s.Full(2, 128, 128).MatMul(s.Full(3, 128, 128))
			return s.Err()
		})
	}
	if err := product(); err != nil {
		t.Fatal(err)
	}

	var ready, turned, worked, done sync.WaitGroup
	ready.Add(callers)
	turned.Add(callers)
	worked.Add(callers)
	var turn sync.Mutex
	var after int // threads, at most
	begin, end := make(chan struct{}), make(chan struct{})
	for range callers {
		done.Go(func() {
			runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
			ready.Done()
			<-begin
			turn.Lock() // alone a search takes all threads
			_, err := exact.Search(t.Context(), q, k, nln.Neighbors{})
			after = max(after, processThreads(t))
			turn.Unlock()
			turned.Done()
			turned.Wait()
			if err != nil {
				t.Error(err)
			}
			for i := range queries / 2 {
				one, err1 := exact.Search(t.Context(), q[i*dim:(i+1)*dim], k, nln.Neighbors{})
				all, err2 := lists.Search(t.Context(), q, k, nln.Neighbors{})
				if err := errors.Join(err1, err2, product()); err != nil {
					t.Error(err)
					break
				}
				if !slices.Equal(one.IDs, wantExact.IDs[i*k:(i+1)*k]) || !slices.Equal(all.IDs, wantLists.IDs) {
					t.Errorf("query %d: other neighbours than alone", i)
				}
			}
			worked.Done()
			<-end
		})
	}
	ready.Wait()
	before := processThreads(t)
	close(begin)
	worked.Wait()
	after = max(after, processThreads(t))
	close(end)
	done.Wait()
	if most := before + 2*(threads-1) + spare; after > most {
		t.Errorf("%d threads, %d before %d callers searched with %d threads: want %d at most", after, before, callers, threads, most)
	}
}

// processThreads returns how many threads the process has.
func processThreads(t *testing.T) int {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Error(err)
	}
	return len(tasks)
}
