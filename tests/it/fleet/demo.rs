//! `rtmsd demo --nodes`.

use crate::harness::run;

#[test]
fn the_demo_plays_a_fleet_with_a_store_of_its_own() {
    let ran = run(&["demo", "--nodes", "2", "--meetings", "4"], &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let rows: Vec<Vec<&str>> = ran
        .stdout
        .lines()
        .filter(|line| line.starts_with("Meeting "))
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows.len(), 4, "{ran:?}");
    // Topic, number, kind of Zoom; the nodes that have had it; then figures, of which none is lost or doubled.
    let moved = rows.iter().filter(|row| row.len() == 10).count();
    assert!(moved > 0, "no meeting went to the other node: {ran:?}");
    for row in &rows {
        assert_eq!(row[row.len() - 2..], ["0", "0"], "{ran:?}");
    }
}
