//! The ledger in a saved context.

use super::codec::{Reader, Writer};
use crate::{
    Error,
    ledger::{CommandFact, Distinct, ErrorFact, FileFact, Ledger, LookFact, Person, Stored},
    snippet::{Snippet, Snippets},
};

fn write_list<T>(w: &mut Writer, list: &[T], mut write: impl FnMut(&mut Writer, &T)) {
    w.count(list.len());
    list.iter().for_each(|element| write(w, element));
}

fn read_list<T>(
    r: &mut Reader,
    least: usize,
    mut read: impl FnMut(&mut Reader) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    (0..r.count(least)?).map(|_| read(r)).collect()
}

fn read_distinct<T: Default>(
    r: &mut Reader,
    least: usize,
    mut read: impl FnMut(&mut Reader) -> Result<T, Error>,
) -> Result<Distinct<T>, Error> {
    let mut out = Distinct::default();
    for _ in 0..r.count(least + 4)? {
        let text = r.text()?;
        let value = read(r)?;
        out.put(&text, value);
    }
    Ok(out)
}

fn write_stored(w: &mut Writer, stored: Option<&Stored>) {
    w.u64(stored.map_or(0, |stored| stored.seq));
    w.text(stored.map_or("", |stored| &stored.id));
}

fn read_stored(r: &mut Reader, old: bool) -> Result<Option<Stored>, Error> {
    if old {
        return Ok(None);
    }
    let (seq, id) = (r.u64()?, r.text()?);
    Ok((!id.is_empty()).then_some(Stored { seq, id }))
}

pub(super) fn write(w: &mut Writer, ledger: &Ledger) {
    write_list(w, &ledger.people, |w, person| {
        w.u64(person.seq);
        w.text(&person.text);
        write_list(w, &person.changed, |w, path| w.text(path));
    });
    write_list(w, &ledger.files.list, |w, (path, fact)| {
        w.text(path);
        w.u32(fact.reads);
        w.u32(fact.writes);
        w.u64(fact.last);
        let (from, to) = fact.lines.unwrap_or((u32::MAX, 0));
        w.u32(from);
        w.u32(to);
        write_stored(w, fact.output.as_ref());
    });
    write_list(w, &ledger.commands.list, |w, (command, fact)| {
        w.text(command);
        w.u32(fact.runs);
        w.u32(fact.failures);
        w.u8(u8::from(fact.failed_last));
        w.u8(u8::from(fact.exit.is_some()));
        w.u32(fact.exit.unwrap_or(0) as u32);
        write_stored(w, fact.output.as_ref());
    });
    write_list(w, &ledger.errors.list, |w, (line, fact)| {
        w.text(line);
        w.text(&fact.during);
        w.u8(u8::from(fact.fix.is_some()));
        w.text(fact.fix.as_deref().unwrap_or(""));
        w.text(&fact.since);
    });
    write_list(w, &ledger.tasks.list, |w, (task, done)| {
        w.text(task);
        w.u8(u8::from(*done));
    });
    write_list(w, &ledger.plan, |w, (task, done)| {
        w.text(task);
        w.u8(u8::from(*done));
    });
    write_list(w, &ledger.names.list, |w, (name, count)| {
        w.text(name);
        w.u32(*count);
    });
    write_list(w, &ledger.decisions, |w, text| w.text(text));
    w.text(&ledger.last_said);
    w.text(&ledger.last_change);
    write_list(w, &ledger.looks.list, |w, (look, fact)| {
        w.text(look);
        w.text(&fact.answer);
        write_stored(w, fact.output.as_ref());
    });
    write_list(w, ledger.snippets.list(), |w, snippet| {
        w.u64(snippet.seq);
        w.u32(snippet.number);
        w.text(&snippet.name);
        w.text(&snippet.text);
    });
}

/// Reads the ledger of the present version, or of version 1, which told less of each fact.
pub(super) fn read(r: &mut Reader, version: u32) -> Result<Ledger, Error> {
    let old = version < 2;
    let mut ledger = Ledger {
        people: read_list(r, 12, |r| person(r, old))?,
        files: read_distinct(r, 16, |r| file(r, old))?,
        commands: read_distinct(r, 9, |r| command(r, old))?,
        errors: read_distinct(r, 9, |r| {
            let during = r.text()?;
            let fixed = r.u8()? != 0;
            let fix = r.text()?;
            Ok(ErrorFact {
                during,
                fix: fixed.then_some(fix),
                since: if old { String::new() } else { r.text()? },
            })
        })?,
        tasks: read_distinct(r, 1, |r| Ok(r.u8()? != 0))?,
        plan: read_list(r, 5, |r| Ok((r.text()?, r.u8()? != 0)))?,
        names: read_distinct(r, 4, Reader::u32)?,
        decisions: read_list(r, 4, Reader::text)?,
        last_said: r.text()?,
        last_change: r.text()?,
        ..Ledger::default()
    };
    if !old {
        ledger.looks = read_distinct(r, 16, |r| {
            Ok(LookFact {
                answer: r.text()?,
                output: read_stored(r, old)?,
            })
        })?;
        ledger.snippets = Snippets::from_list(read_list(r, 20, |r| {
            Ok(Snippet {
                seq: r.u64()?,
                number: r.u32()?,
                name: r.text()?,
                text: r.text()?,
            })
        })?);
    }
    Ok(ledger)
}

fn person(r: &mut Reader, old: bool) -> Result<Person, Error> {
    Ok(Person {
        seq: r.u64()?,
        text: r.text()?,
        changed: if old {
            Vec::new()
        } else {
            read_list(r, 4, Reader::text)?
        },
    })
}

fn file(r: &mut Reader, old: bool) -> Result<FileFact, Error> {
    let mut fact = FileFact {
        reads: r.u32()?,
        writes: r.u32()?,
        last: r.u64()?,
        ..FileFact::default()
    };
    if !old {
        let lines = (r.u32()?, r.u32()?);
        fact.lines = (lines != (u32::MAX, 0)).then_some(lines);
    }
    fact.output = read_stored(r, old)?;
    Ok(fact)
}

fn command(r: &mut Reader, old: bool) -> Result<CommandFact, Error> {
    let mut fact = CommandFact {
        runs: r.u32()?,
        failures: r.u32()?,
        failed_last: r.u8()? != 0,
        ..CommandFact::default()
    };
    if !old {
        let told = r.u8()? != 0;
        let code = r.u32()? as i32;
        fact.exit = told.then_some(code);
    }
    fact.output = read_stored(r, old)?;
    Ok(fact)
}
