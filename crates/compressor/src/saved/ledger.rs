//! The ledger in a saved context.

use super::codec::{Reader, Writer};
use crate::{
    Error,
    ledger::{CommandFact, Distinct, ErrorFact, FileFact, Ledger},
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

pub(super) fn write(w: &mut Writer, ledger: &Ledger) {
    write_list(w, &ledger.people, |w, (seq, text)| {
        w.u64(*seq);
        w.text(text);
    });
    write_list(w, &ledger.files.list, |w, (path, fact)| {
        w.text(path);
        w.u32(fact.reads);
        w.u32(fact.writes);
        w.u64(fact.last);
    });
    write_list(w, &ledger.commands.list, |w, (command, fact)| {
        w.text(command);
        w.u32(fact.runs);
        w.u32(fact.failures);
        w.u8(u8::from(fact.failed_last));
    });
    write_list(w, &ledger.errors.list, |w, (line, fact)| {
        w.text(line);
        w.text(&fact.during);
        w.u8(u8::from(fact.fix.is_some()));
        w.text(fact.fix.as_deref().unwrap_or(""));
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
}

pub(super) fn read(r: &mut Reader) -> Result<Ledger, Error> {
    Ok(Ledger {
        people: read_list(r, 12, |r| Ok((r.u64()?, r.text()?)))?,
        files: read_distinct(r, 16, |r| {
            Ok(FileFact {
                reads: r.u32()?,
                writes: r.u32()?,
                last: r.u64()?,
            })
        })?,
        commands: read_distinct(r, 9, |r| {
            Ok(CommandFact {
                runs: r.u32()?,
                failures: r.u32()?,
                failed_last: r.u8()? != 0,
            })
        })?,
        errors: read_distinct(r, 9, |r| {
            let during = r.text()?;
            let fixed = r.u8()? != 0;
            let fix = r.text()?;
            Ok(ErrorFact {
                during,
                fix: fixed.then_some(fix),
            })
        })?,
        tasks: read_distinct(r, 1, |r| Ok(r.u8()? != 0))?,
        plan: read_list(r, 5, |r| Ok((r.text()?, r.u8()? != 0)))?,
        names: read_distinct(r, 4, Reader::u32)?,
        decisions: read_list(r, 4, Reader::text)?,
        last_said: r.text()?,
        last_change: r.text()?,
    })
}
