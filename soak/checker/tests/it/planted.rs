//! One broken promise each.

use mainspring_soak_checker::{Call, Line};

use crate::day::{BOUND, Day, PEER, dg, message, state};

#[test]
fn a_clean_day_is_clean() {
    let report = Day::new().check();
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.counts["messages compared with their export"], 9);
    assert_eq!(
        report.counts["checkpoints compared with what they must hold"],
        2
    );
    assert_eq!(
        report.counts["messages that were there although not acknowledged"],
        1
    );
    assert_eq!(report.seed, 7);
    assert!(report.latencies["append"][0].is_some());
}

#[test]
fn a_lost_acknowledgement_is_found_when_the_session_opens() {
    let mut day = Day::new();
    let opened = |line: &Line| matches!(line, Line::Opened { s, n: 5, .. } if s == "a");
    day.change(opened, |line| {
        if let Line::Opened { n, .. } = line {
            *n = 3;
        }
    });
    // The message that is back later was not acknowledged again.
    assert_eq!(day.check().listed[0].promise, "lost");
}

#[test]
fn a_lost_acknowledgement_is_found_in_the_export() {
    let day = Day::new();
    day.write("b", &(0..3).map(message).collect::<Vec<_>>());
    day.breaks("lost");
}

#[test]
fn a_session_that_is_gone_is_found() {
    let mut day = Day::new();
    let exported = day.find(|line| matches!(line, Line::Exported { s, .. } if s == "b"));
    day.lines.remove(exported);
    day.breaks("lost");
}

#[test]
fn a_lost_checkpoint_is_found() {
    let mut day = Day::new();
    let last = day
        .lines
        .iter()
        .rposition(|entry| matches!(entry.line, Line::Restore { .. }));
    day.lines.remove(last.unwrap());
    day.breaks("lost");
}

#[test]
fn a_flipped_byte_is_found_in_an_export() {
    let day = Day::new();
    let mut messages: Vec<String> = (0..5).map(message).collect();
    messages[2] = messages[2].replace("message 2", "message 3");
    day.write("a", &messages);
    // The checkpoint does not follow from these messages either.
    assert_eq!(day.breaks("bytes").violations, 2);
}

#[test]
fn a_flipped_byte_is_found_in_a_message_that_was_read() {
    let mut day = Day::new();
    day.change(
        |line| matches!(line, Line::Read { .. }),
        |line| {
            if let Line::Read { dg: digest, .. } = line {
                *digest = dg(&message(2));
            }
        },
    );
    day.breaks("bytes");
}

#[test]
fn a_flipped_byte_is_found_in_a_checkpoint() {
    let mut day = Day::new();
    for entry in &mut day.lines {
        if let Line::Restore { v, dg: digest, .. } = &mut entry.line
            && v == "v2"
        {
            *digest = dg(&state(0..4).replace("message 1", "message l"));
        }
    }
    day.breaks("bytes");
}

#[test]
fn a_checkpoint_that_changes_is_found() {
    let mut day = Day::new();
    day.change(
        |line| matches!(line, Line::Restore { .. }),
        |line| {
            if let Line::Restore { dg: digest, .. } = line {
                *digest = dg("something else");
            }
        },
    );
    day.breaks("bytes");
}

#[test]
fn a_context_beyond_its_window_is_found() {
    let mut day = Day::new();
    day.change(
        |line| matches!(line, Line::Context { .. }),
        |line| {
            if let Line::Context { tokens, .. } = line {
                *tokens = 101;
            }
        },
    );
    day.breaks("bytes");
}

#[test]
fn a_stale_read_is_found() {
    let mut day = Day::new();
    let stale = |line: &Line| matches!(line, Line::Outcome { id, .. } if id == "c4");
    day.change(stale, |line| {
        if let Line::Outcome { saw, .. } = line {
            *saw = vec![(5, 0)];
        }
    });
    day.breaks("stale");
}

/// What another machine wrote may be missed within the bound, and not beyond it.
#[test]
fn a_read_of_another_machine_is_stale_beyond_the_bound_only() {
    for (late, stale) in [(BOUND / 2, false), (BOUND * 2, true)] {
        let mut day = Day::new();
        let written = |line: &Line| matches!(line, Line::Outcome { id, .. } if id == "c3");
        let t = day.lines[day.find(written)].t + late;
        let calls = vec![Call {
            id: "p1".to_owned(),
            reads: vec![5],
        }];
        day.say(
            PEER,
            Line::Calls {
                r: "p".to_owned(),
                calls,
            },
        );
        day.lines.last_mut().unwrap().t = t;
        day.outcome("p", "p1", &[(5, 0)], &[]);
        day.say(
            PEER,
            Line::Ran {
                r: "p".to_owned(),
                us: 1,
            },
        );
        match stale {
            true => drop(day.breaks("stale")),
            false => assert!(day.check().is_clean(), "{}", day.check()),
        }
    }
}

/// While Redis is dead, what one machine writes binds the other once they have met again.
#[test]
fn machines_that_are_apart_need_not_know_of_each_other() {
    let fault = |event: &str| fault("dead redis", event);
    let call = |id: &str, reads: &[u32]| {
        let id = id.to_owned();
        vec![Call {
            id,
            reads: reads.to_vec(),
        }]
    };
    for (met, late, stale) in [
        (false, 9_000_000, false),
        (true, BOUND, false),
        (true, 2_000_000, true),
    ] {
        let mut day = Day::new();
        day.say(0, fault("begin"));
        day.say(
            1,
            Line::Calls {
                r: "w".to_owned(),
                calls: call("w1", &[]),
            },
        );
        day.say(0, Line::Wrote { d: 5, v: 2 });
        day.outcome("w", "w1", &[], &[(5, 2)]);
        day.say(
            1,
            Line::Ran {
                r: "w".to_owned(),
                us: 1,
            },
        );
        if met {
            day.say(0, fault("end"));
        }
        day.say(
            PEER,
            Line::Calls {
                r: "p".to_owned(),
                calls: call("p1", &[5]),
            },
        );
        day.lines.last_mut().unwrap().t += late;
        day.outcome("p", "p1", &[(5, 1)], &[]);
        day.say(
            PEER,
            Line::Ran {
                r: "p".to_owned(),
                us: 1,
            },
        );
        match stale {
            true => drop(day.breaks("stale")),
            false => assert!(day.check().is_clean(), "{}", day.check()),
        }
    }
}

#[test]
fn two_writers_at_once_are_found() {
    let begin = |x, writes: &str| Line::Begin {
        x,
        reads: Vec::new(),
        writes: vec![writes.to_owned()],
    };
    for (one, other, conflict) in [
        ("doc/5", "doc/5", true),
        ("doc", "doc/5", true),
        ("doc/5", "doc/55", false),
        ("doc/5", "doc/6", false),
    ] {
        let mut day = Day::new();
        day.say(2, begin(20, one));
        day.say(2, begin(21, other));
        match conflict {
            true => drop(day.breaks("writers")),
            false => assert!(day.check().is_clean(), "{}", day.check()),
        }
    }
}

#[test]
fn a_reader_beside_a_writer_is_found() {
    let mut day = Day::new();
    let writer = |line: &Line| matches!(line, Line::Begin { x: 2, .. });
    day.change(writer, |line| {
        if let Line::Begin { reads, writes, .. } = line {
            std::mem::swap(reads, writes);
        }
    });
    day.breaks("writers");
}

#[test]
fn a_doubled_result_is_found() {
    let mut day = Day::new();
    let first = day.find(|line| matches!(line, Line::Outcome { id, .. } if id == "c1"));
    let twice = day.lines[first].clone();
    day.lines.insert(first, twice);
    day.breaks("results");
}

#[test]
fn a_missing_result_is_found() {
    let mut day = Day::new();
    let first = day.find(|line| matches!(line, Line::Outcome { id, .. } if id == "c1"));
    day.lines.remove(first);
    day.breaks("results");
}

#[test]
fn a_run_that_never_ends_is_found() {
    let mut day = Day::new();
    day.say(
        2,
        Line::Calls {
            r: "r9".to_owned(),
            calls: Vec::new(),
        },
    );
    day.breaks("results");
}

#[test]
fn an_overrun_is_found_when_it_happens() {
    let mut day = Day::new();
    day.change(
        |line| matches!(line, Line::Charge { money: 20, .. }),
        |line| {
            if let Line::Charge { money, .. } = line {
                *money = 21;
            }
        },
    );
    let report = day.breaks("money");
    assert!(
        report.listed[0].what.contains("purse has spent 51 of 50"),
        "{report}"
    );
}

#[test]
fn a_leak_is_found() {
    for (bytes, fds, leaks) in [
        (300 << 20, 20, true),
        (100 << 20, 99, true),
        (150 << 20, 30, false),
    ] {
        let mut day = Day::new();
        let after = |line: &Line| matches!(line, Line::Resources { phase, .. } if phase == "after");
        day.change(after, |line| {
            if let Line::Resources {
                anonymous,
                descriptors,
                ..
            } = line
            {
                (*anonymous, *descriptors) = (bytes, fds);
            }
        });
        match leaks {
            true => drop(day.breaks("resources")),
            false => assert!(day.check().is_clean(), "{}", day.check()),
        }
    }
}

#[test]
fn an_answer_that_was_cut_short_is_found() {
    let mut day = Day::new();
    day.change(
        |line| matches!(line, Line::Answered { .. }),
        |line| {
            if let Line::Answered { dg: digest, .. } = line {
                *digest = dg("hell");
            }
        },
    );
    day.breaks("bytes");
}

fn fault(fault: &str, event: &str) -> Line {
    Line::Fault {
        fault: fault.to_owned(),
        event: event.to_owned(),
        detail: String::new(),
    }
}

fn refused() -> Line {
    Line::Refused {
        op: "append".to_owned(),
        s: "a".to_owned(),
        error: "No space left on device".to_owned(),
    }
}

#[test]
fn a_refusal_needs_a_fault_that_explains_it() {
    let mut day = Day::new();
    day.say(2, refused());
    day.breaks("refused");
    for (event, late, explained) in [
        ("begin", 1, true),
        ("end", 1, true),
        ("end", 60_000_000, false),
    ] {
        let mut day = Day::new();
        for event in ["begin", event] {
            day.say(0, fault("disk full", event));
        }
        day.say(2, refused());
        day.lines.last_mut().unwrap().t += late;
        match explained {
            true => assert!(day.check().is_clean(), "{}", day.check()),
            false => drop(day.breaks("refused")),
        }
    }
}

/// A changed byte excuses what it changed, when it is reported where it is, and nothing else.
#[test]
fn damage_excuses_what_is_reported_and_nothing_else() {
    let flip = |offset| Line::Flip {
        file: "sessions/00000001.seg".to_owned(),
        offset,
    };
    let damage = |offset| Line::Damage {
        file: "sessions/00000001.seg".to_owned(),
        offset,
        len: 80,
    };
    let unreadable = |what: &str, offset: u64| Line::Unreadable {
        s: "a".to_owned(),
        what: what.to_owned(),
        error: format!("session log: 00000001.seg is damaged at byte {offset}: checks"),
    };
    let day = |damaged: &[Line]| {
        let mut day = Day::new();
        let evening =
            day.find(|line| matches!(line, Line::Server { event } if event == "last look"));
        for line in damaged.iter().rev() {
            let mut entry = day.lines[evening].clone();
            entry.line = line.clone();
            day.lines.insert(evening, entry);
        }
        let mut messages: Vec<String> = (0..5).map(message).collect();
        messages[4].clear();
        day.write("a", &messages);
        day
    };
    let excused = [flip(1_040), damage(1_000), unreadable("message 4", 1_000)];
    let clean = day(&excused).check();
    assert!(clean.is_clean(), "{clean}");
    // Another message than the one that is said to be unreadable.
    day(&[flip(1_040), damage(1_000), unreadable("message 3", 1_000)]).breaks("bytes");
    // Somewhere else than where the byte was changed: the error is no excuse, nor the missing message.
    let report = day(&[flip(1_040), damage(1_000), unreadable("message 4", 5_000)]).check();
    assert_eq!(report.listed[0].promise, "lost");
    // Nothing was reported of the changed byte.
    let report = day(&[flip(1_040)]).check();
    assert!(
        report.listed.iter().any(|found| found.promise == "damage"),
        "{report}"
    );
    // Damage that nobody did.
    let report = day(&[damage(1_000), unreadable("message 4", 1_000)]).check();
    assert!(
        report.listed.iter().any(|found| found.promise == "damage"),
        "{report}"
    );
}

#[test]
fn a_line_that_is_none_is_found() {
    let report = mainspring_soak_checker::check(&b"{\"k\":\"append\"\n"[..], ".".as_ref()).unwrap();
    assert_eq!(report.listed[0].promise, "log");
}
