//! The hash of epochs on the server.

use super::reign::Seen;
use super::{RedisTier, failure};
use crate::error::Error;
use crate::history::NAMES;
use crate::label::Label;
use crate::tier::Marks;
use crate::tracking::{LATEST, field, unfield};
use redis::Cmd;
use std::hash::{BuildHasher, Hasher};

/// Labels that the hash of epochs holds before they are folded into one floor.
const LABELS: u64 = 65_536;

/// How far above a failover the time begins: above any at which something was born under the server before.
const OVER: u64 = 1 << 20;

/// What the scripts begin with. `server` is the number of the server that runs them, or nil where it does not say.
const SERVER: &str = r"
local marks = KEYS[1]
local function server()
  local info = redis.pcall('INFO', 'server')
  local id = type(info) == 'string' and string.match(info, 'run_id:(%x+)')
  return id and string.format('%.0f', tonumber(string.sub(id, 1, 12), 16)) or nil
end
local function begin(identity)
  redis.call('HSET', marks, 'identity', identity, 'origin', identity)
  local here = server()
  if here then redis.call('HSET', marks, 'server', here) end
end
";

/// Run on every new connection. When the hash comes from another server, a replica took that one's place (or it was
/// started anew from its file) and may have missed what was acknowledged last: everything is invalidated.
/// ARGV: an identity and origin to use if there is no hash, the time it is at least then, the root's field, how far above.
const GREET: &str = r"
local identity = redis.call('HGET', marks, 'identity')
if not identity then
  identity = ARGV[1]
  begin(identity)
  redis.call('HSET', marks, 'clock', ARGV[2])
end
local origin = redis.call('HGET', marks, 'origin') or '0'
local text = redis.call('HGET', marks, 'clock') or '0'
local before, here = redis.call('HGET', marks, 'server'), server()
if here and before ~= here then
  if before then
    text = string.format('%.0f', tonumber(text) + tonumber(ARGV[4]))
    redis.call('HSET', marks, 'clock', text, ARGV[3], text)
    redis.call('PUBLISH', marks, origin .. ' ' .. text .. ' ' .. ARGV[3])
  end
  redis.call('HSET', marks, 'server', here)
end
return {identity, origin, text}
";

/// Notes labels at the next logical time, at least the one proposed.
/// ARGV: proposed time, an identity and origin to use if there is none, the bound, then the labels' fields.
const MARK: &str = r"
local identity = redis.call('HGET', marks, 'identity')
if not identity then
  identity = ARGV[2]
  begin(identity)
end
local origin = redis.call('HGET', marks, 'origin') or '0'
local clock = tonumber(redis.call('HGET', marks, 'clock') or '0')
if #ARGV > 3 then clock = clock + 1 end
if tonumber(ARGV[1]) > clock then clock = tonumber(ARGV[1]) end
local text = string.format('%.0f', clock)
local message = origin .. ' ' .. text
if redis.call('HLEN', marks) + #ARGV - 3 > tonumber(ARGV[3]) then
  local here = redis.call('HGET', marks, 'server')
  redis.call('DEL', marks)
  redis.call('HSET', marks, 'identity', identity, 'origin', origin, 'floor', text)
  if here then redis.call('HSET', marks, 'server', here) end
  message = 'floor'
end
redis.call('HSET', marks, 'clock', text)
for at = 4, #ARGV do
  redis.call('HSET', marks, ARGV[at], text)
  message = message .. ' ' .. ARGV[at]
end
if #ARGV > 3 then redis.call('PUBLISH', marks, message) end
return {identity, origin, text}
";

/// Gives the hash a new identity. ARGV: the identity, and origin if there is none, and the time it is at least.
const CLEAR: &str = r"
local old = redis.call('HGET', marks, 'identity')
if not old then begin(ARGV[1]) end
redis.call('HSET', marks, 'identity', ARGV[1])
local clock = tonumber(redis.call('HGET', marks, 'clock') or '0')
if tonumber(ARGV[2]) > clock then clock = tonumber(ARGV[2]) end
local text = string.format('%.0f', clock)
redis.call('HSET', marks, 'clock', text)
redis.call('PUBLISH', marks, 'cleared')
return {ARGV[1], redis.call('HGET', marks, 'origin') or '0', text}
";

/// A call of a script on the hash of that name.
fn script(body: &str, hash: String) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg([SERVER, body].concat()).arg(1).arg(hash);
    command
}

impl RedisTier {
    /// Asks a server that was just connected to whether it is the one of before.
    pub(super) fn greeting(&self) -> Cmd {
        let mut command = script(GREET, self.marks_key());
        command
            .arg(identity())
            .arg(self.reign.latest())
            .arg(field(Label::scope("")))
            .arg(OVER);
        command
    }

    /// What a script answered.
    pub(super) fn saw(&self, (identity, origin, clock): (u64, u64, u64)) -> Result<u64, Error> {
        let clock = credible(clock)?;
        self.reign.saw(Seen {
            identity,
            origin,
            clock,
            root: 0,
        });
        Ok(clock)
    }

    pub(super) async fn note(&self, labels: &[Label], epoch: u64) -> Result<u64, Error> {
        // What is proposed is already in use here.
        self.reign.heard_of(credible(epoch)?);
        let mut command = script(MARK, self.marks_key());
        command.arg(epoch).arg(identity()).arg(LABELS);
        labels.iter().for_each(|label| {
            command.arg(field(*label));
        });
        self.saw(self.ask(&command).await?)
    }

    pub(super) async fn renew(&self) -> Result<(), Error> {
        let mut command = script(CLEAR, self.marks_key());
        command.arg(identity()).arg(self.reign.latest());
        self.saw(self.ask(&command).await?)?;
        Ok(())
    }

    pub(super) async fn all_marks(&self) -> Result<Marks, Error> {
        self.note(&[], 0).await?;
        let all: Vec<(String, u64)> = self
            .ask(redis::cmd("HGETALL").arg(self.marks_key()))
            .await?;
        let mut marks = Marks::default();
        for (name, value) in all {
            match name.as_str() {
                "identity" | "server" => {}
                "origin" => marks.marks.push((Label::of_origin(value), NAMES)),
                "floor" => marks.floor = credible(value)?,
                "clock" => marks.latest = credible(value)?,
                name => {
                    if let Some(label) = unfield(name) {
                        marks.marks.push((label, credible(value)?));
                    }
                }
            }
        }
        Ok(marks)
    }

    pub(super) async fn observed(&self, labels: &[Label]) -> Result<Marks, Error> {
        let root = Label::scope("");
        let mut marks = match self.read_marks(labels, root).await? {
            Some(marks) => marks,
            None => self.make_anew(labels).await?,
        };
        if let Some(since) = self.reign.due() {
            marks.latest = self.note(&[root], since).await?;
            self.reign.told(since);
        }
        // Told each time: whoever asked first may have gone away before the answer.
        marks.marks.push((root, self.reign.since()));
        marks.latest = marks.latest.max(self.reign.since());
        Ok(marks)
    }

    /// What the hash says; `None` when there is none.
    async fn read_marks(&self, labels: &[Label], root: Label) -> Result<Option<Marks>, Error> {
        let mut command = redis::cmd("HMGET");
        command.arg(self.marks_key());
        command.arg(&["identity", "clock", "origin", "floor"]);
        command.arg(field(root));
        labels.iter().for_each(|label| {
            command.arg(field(*label));
        });
        let values: Vec<Option<u64>> = self.ask(&command).await?;
        let [Some(identity), Some(clock), origin, floor, all, epochs @ ..] = values.as_slice()
        else {
            return Ok(None);
        };
        let times = [floor, all].into_iter().chain(epochs).flatten();
        for time in times.chain([clock]) {
            credible(*time)?;
        }
        let floor = floor.unwrap_or(0);
        self.reign.saw(Seen {
            identity: *identity,
            origin: origin.unwrap_or(0),
            clock: *clock,
            root: all.unwrap_or(floor),
        });
        let epochs = epochs.iter().map(|epoch| epoch.unwrap_or(floor));
        Ok(Some(Marks {
            marks: labels.iter().copied().zip(epochs).collect(),
            floor,
            latest: *clock,
        }))
    }

    /// The server lost the hash: a new one makes every entry there dead, and what this process has, too.
    async fn make_anew(&self, labels: &[Label]) -> Result<Marks, Error> {
        let clock = self.note(labels, self.reign.latest()).await?;
        Ok(Marks {
            marks: labels.iter().map(|label| (*label, clock)).collect(),
            floor: 0,
            latest: clock,
        })
    }
}

/// A logical time that the server can have counted to; a later one would leave no room for the next.
fn credible(time: u64) -> Result<u64, Error> {
    if time > LATEST {
        return Err(failure("the logical time is out of range"));
    }
    Ok(time)
}

/// A number that no other hash of epochs has. Fits the exact integers of the server's scripts.
fn identity() -> u64 {
    (std::hash::RandomState::new().build_hasher().finish() >> 12) | 1
}
