//! The protocol of the cells, in every interleaving that loom can make.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p mainspring-monitor --release model`.

use loom::thread;

use crate::cells::{Cells, Page, add_up};
use crate::sync::Arc;

const ONE: usize = 2;

fn fresh(page: &Page<ONE>) -> &'static Cells<ONE> {
    let cells = Box::leak(Box::new(Cells::zeroed()));
    page.attach(cells);
    cells
}

fn total(page: &Page<ONE>) -> u64 {
    let mut cells = [0; ONE];
    page.read(&mut cells, |_| {});
    cells[0]
}

#[test]
fn each_update_is_read_exactly_once_while_threads_come_and_go() {
    loom::model(|| {
        let page = Arc::new(Page::<ONE>::new(add_up));
        let writers: Vec<_> = (0..2)
            .map(|_| {
                let page = Arc::clone(&page);
                thread::spawn(move || {
                    let cells = fresh(&page);
                    cells.add(0, 1);
                    page.retire(cells);
                })
            })
            .collect();
        let first = total(&page);
        let second = total(&page);
        assert!(first <= second && second <= 2);
        for writer in writers {
            writer.join().unwrap();
        }
        assert_eq!((total(&page), page.threads()), (2, 0));
    });
}

#[test]
fn what_a_living_thread_wrote_before_it_said_so_is_read() {
    loom::model(|| {
        let page = Arc::new(Page::<ONE>::new(add_up));
        let cells = fresh(&page);
        let reader = {
            let page = Arc::clone(&page);
            thread::spawn(move || total(&page))
        };
        cells.add(0, 2);
        cells.add(0, 3);
        let seen = reader.join().unwrap();
        assert!([0, 2, 5].contains(&seen), "{seen}");
        assert_eq!(total(&page), 5);
        page.retire(cells);
        page.retire(cells);
        assert_eq!(total(&page), 5);
    });
}

#[test]
fn two_cells_that_belong_together_are_never_read_apart() {
    loom::model(|| {
        let page = Arc::new(Page::<ONE>::new(add_up));
        let cells = fresh(&page);
        let reader = {
            let page = Arc::clone(&page);
            thread::spawn(move || {
                let mut seen = [0; ONE];
                page.read(&mut seen, |_| {});
                seen
            })
        };
        page.exclusive(|| {
            cells.store(0, 7);
            cells.store(1, 7);
        });
        let seen = reader.join().unwrap();
        assert_eq!(seen[0], seen[1]);
    });
}

#[test]
fn cleared_cells_stay_clear_until_their_next_owner_writes() {
    loom::model(|| {
        let page = Arc::new(Page::<ONE>::new(add_up));
        let writer = {
            let page = Arc::clone(&page);
            thread::spawn(move || {
                let cells = fresh(&page);
                cells.add(0, 4);
                cells
            })
        };
        // The last handle is gone when its thread has handed it back.
        let cells = writer.join().unwrap();
        let ending = {
            let page = Arc::clone(&page);
            thread::spawn(move || page.retire(cells))
        };
        page.clear(0..1);
        assert_eq!(total(&page), 0);
        ending.join().unwrap();
        assert_eq!(total(&page), 0);
    });
}

#[test]
fn cells_of_an_ended_thread_serve_another_one_on_another_page() {
    loom::model(|| {
        let pages = [(); 2].map(|()| Arc::new(Page::<ONE>::new(add_up)));
        let free = Arc::new(crate::sync::Mutex::new(None));
        let first = {
            let (page, free) = (Arc::clone(&pages[0]), Arc::clone(&free));
            thread::spawn(move || {
                let cells = fresh(&page);
                cells.add(0, 3);
                page.retire(cells);
                *free.lock().unwrap() = Some(cells);
            })
        };
        let second = {
            let (page, free) = (Arc::clone(&pages[1]), Arc::clone(&free));
            thread::spawn(move || {
                let cells = free.lock().unwrap().take();
                let cells = cells
                    .inspect(|cells| page.attach(cells))
                    .unwrap_or_else(|| fresh(&page));
                cells.add(0, 5);
            })
        };
        assert!([0, 3].contains(&total(&pages[0])));
        assert!([0, 5].contains(&total(&pages[1])));
        first.join().unwrap();
        second.join().unwrap();
        assert_eq!(pages.map(|page| total(&page)), [3, 5]);
    });
}

#[test]
fn what_threads_add_to_shared_cells_is_read_with_the_rest() {
    loom::model(|| {
        let page = Arc::new(Page::<ONE>::new(add_up));
        let stripe = Arc::new(Cells::<ONE>::zeroed());
        let writers: Vec<_> = (0..2)
            .map(|_| {
                let stripe = Arc::clone(&stripe);
                let add = move || {
                    stripe
                        .shared(0)
                        .fetch_add(1, crate::sync::Ordering::Relaxed)
                };
                thread::spawn(add)
            })
            .collect();
        let read = || {
            let mut cells = [0; ONE];
            page.read(&mut cells, |into| add_up(into, &stripe));
            cells[0]
        };
        let (first, second) = (read(), read());
        assert!(first <= second && second <= 2);
        for writer in writers {
            writer.join().unwrap();
        }
        assert_eq!(read(), 2);
    });
}
