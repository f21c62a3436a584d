//! Who lives, and who gets a meeting.

use std::time::{Duration, Instant};

use super::super::view::{DEAD, STILL, View};
use super::super::*;

fn row(node: &str, seq: u64, age_ms: u64) -> SeenRow {
    SeenRow {
        node: node.to_owned(),
        row: Row {
            boot: Boot(1),
            seq,
            layout: 1,
            version: String::new(),
            must: String::new(),
            streams: 0,
            capacity: 10,
            is_draining: false,
            admin: String::new(),
            since_ms: 0,
            events: None,
        },
        age: Duration::from_millis(age_ms),
    }
}

fn view() -> View {
    let me = Member {
        node: "me".to_owned(),
        boot: Boot(1),
    };
    View::new(me, 1, String::new())
}

#[test]
fn a_jump_of_the_stores_clock_kills_no_node() {
    let (mut view, now) = (view(), Instant::now());
    for n in 0..10 {
        let at = now + Duration::from_secs(n);
        let age = if n > 5 { 3_600_000 } else { 100 };
        view.look(at, vec![row("me", n, 0), row("b", n, age)]);
        assert!(!view.is_dead("b", DEAD, STILL), "look {n}");
    }
}

#[test]
fn a_node_is_dead_when_both_clocks_say_so() {
    let (mut view, now) = (view(), Instant::now());
    for n in 0..8 {
        let at = now + Duration::from_secs(n);
        view.look(at, vec![row("me", n, 0), row("b", 1, n * 1000 + 200)]);
        assert_eq!(view.is_dead("b", DEAD, STILL), n >= 5, "look {n}");
    }
    assert_eq!(view.dead().count(), 1);
}

#[test]
fn who_is_dead_stays_dead_until_it_moves_whatever_the_stores_clock_does() {
    let (mut view, now) = (view(), Instant::now());
    let look = |view: &mut View, second, seq, age| {
        let at = now + Duration::from_secs(second);
        view.look(at, vec![row("me", second, 0), row("b", seq, age)]);
        let is_placed = (0..20).any(|n| {
            let choice = view.place(&format!("m{n}"), false, None);
            choice.is_some_and(|choice| choice.to.node == "b")
        });
        (view.is_dead("b", DEAD, STILL), is_placed)
    };
    assert_eq!(look(&mut view, 0, 7, 200), (false, true));
    assert_eq!(look(&mut view, 6, 7, 6200), (true, false));
    // The store's clock has jumped back, and comes near to the time of the last beat.
    assert_eq!(look(&mut view, 7, 7, 3000), (true, false));
    assert_eq!(look(&mut view, 10, 7, 0), (true, false));
    assert_eq!(look(&mut view, 11, 8, 100), (false, true));
}

#[test]
fn many_deaths_in_one_look_are_doubted() {
    let (mut view, now) = (view(), Instant::now());
    let rows = |age| {
        vec![
            row("me", 1, 0),
            row("b", 1, age),
            row("c", 1, age),
            row("d", 1, age),
        ]
    };
    assert!(!view.look(now, rows(0)));
    assert!(view.look(now + DEAD, rows(5000)));
    assert!(!view.look(now + 2 * DEAD, rows(10_000)));
}

#[test]
fn placing_spreads_and_is_the_same_everywhere() {
    let (mut view, now) = (view(), Instant::now());
    view.look(now, ["a", "b", "c"].map(|node| row(node, 1, 0)).to_vec());
    let mut counts = std::collections::BTreeMap::new();
    for n in 0..300 {
        let choice = view.place(&format!("m{n}"), true, None).expect("one");
        assert_eq!(
            view.place(&format!("m{n}"), true, None).as_ref(),
            Some(&choice)
        );
        *counts.entry(choice.to.node).or_insert(0) += 1;
    }
    assert!(counts.values().all(|count| *count > 60), "{counts:?}");
}

#[test]
fn a_draining_node_gets_nothing() {
    let (mut view, now) = (view(), Instant::now());
    let mut draining = row("b", 1, 0);
    draining.row.is_draining = true;
    view.look(now, vec![draining, row("c", 1, 0)]);
    for n in 0..20 {
        let choice = view.place(&format!("m{n}"), true, None).expect("one");
        assert_eq!(choice.to.node, "c");
    }
}
