//! A wrong answer is found by every row, wherever it stands.

use mainspring_benches::{
    Bench, Options, Scale, Targets, WrongAnswer,
    areas::{self, Unavailable},
};

fn tiny(plant: Option<u64>) -> Bench {
    Bench::new(Options {
        scale: Scale::Tiny,
        plant,
        ..Options::default()
    })
}

#[test]
fn every_row_refuses_a_planted_wrong_answer() {
    for (id, benchmark) in areas::benchmarks() {
        let clean = tiny(None);
        match benchmark(&clean) {
            Ok(_) => {}
            Err(error) if error.is::<Unavailable>() => {
                println!("skipped: {id}: {error}");
                continue;
            }
            Err(error) => panic!("{id} does not run: {error:#}"),
        }
        let answers = clean.answers();
        assert!(answers > 0, "{id} checks no answer");
        let mut places = vec![0, answers / 2, answers - 1];
        places.dedup();
        for place in places {
            let outcome = benchmark(&tiny(Some(place)));
            let refused =
                outcome.expect_err(&format!("{id} took a wrong answer {place} of {answers}"));
            assert!(
                refused.is::<WrongAnswer>(),
                "{id} failed otherwise at answer {place} of {answers}: {refused:#}"
            );
        }
    }
}

#[test]
fn every_benchmark_measures_a_row_of_the_table() {
    let targets = Targets::load().unwrap();
    for (id, _) in areas::benchmarks() {
        assert!(
            targets.rows.iter().any(|row| row.id == id),
            "{id} is no row"
        );
        let named = areas::benchmarks()
            .filter(|(other, _)| *other == id)
            .count();
        assert_eq!(named, 1, "{id} has {named} benchmarks");
    }
}
