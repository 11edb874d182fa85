//! The thread that forks children and buries them.
//!
//! One for the whole process, and it never ends. A child asks the kernel to be killed when the thread that forked it
//! ends; a runtime's own threads come and go, this one goes with the process.

use std::io;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid,
};
use tokio::sync::oneshot;

/// How often the thread looks after those that were killed and are not over yet: first, and at last.
const FIRST_LOOK: Duration = Duration::from_micros(500);
const LAST_LOOK: Duration = Duration::from_millis(100);

enum Order {
    Spawn(Box<Command>, oneshot::Sender<io::Result<Group>>),
    Bury(Child),
}

static KEEPER: OnceLock<Sender<Order>> = OnceLock::new();

fn keeper() -> io::Result<&'static Sender<Order>> {
    if let Some(orders) = KEEPER.get() {
        return Ok(orders);
    }
    let (sender, orders) = channel();
    thread::Builder::new()
        .name("mainspring-children".to_owned())
        .spawn(move || keep(&orders))?;
    // Whoever comes second drops its sender, and its thread ends before it forked anything.
    Ok(KEEPER.get_or_init(|| sender))
}

/// Starts the command, which must put the child into a group of its own.
pub(super) async fn spawn(command: Command) -> io::Result<Group> {
    let (answer, group) = oneshot::channel();
    let gone = || io::Error::other("the thread that starts child processes is gone");
    keeper()?
        .send(Order::Spawn(Box::new(command), answer))
        .map_err(|_| gone())?;
    group.await.map_err(|_| gone())?
}

fn keep(orders: &Receiver<Order>) {
    let mut dying: Vec<Child> = Vec::new();
    let mut pause = FIRST_LOOK;
    loop {
        let order = match dying.is_empty() {
            true => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => orders.recv_timeout(pause),
        };
        match order {
            // Nobody may be waiting any more: then the group is killed where it is dropped.
            Ok(Order::Spawn(mut command, answer)) => {
                let _ = answer.send(command.spawn().map(Group::new));
            }
            Ok(Order::Bury(child)) => {
                dying.push(child);
                pause = FIRST_LOOK;
            }
            Err(RecvTimeoutError::Timeout) => pause = (pause * 2).min(LAST_LOOK),
            Err(RecvTimeoutError::Disconnected) => return,
        }
        // An error means that somebody else reaped it.
        dying.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }
}

/// A child and the group it leads. Dropping it kills the group and has the child buried.
///
/// The group is only signalled while the child, alive or dead, is not reaped: until then nobody else gets its number.
pub(super) struct Group {
    /// Nothing once it is reaped.
    child: Option<Child>,
}

impl Group {
    fn new(child: Child) -> Self {
        Self { child: Some(child) }
    }

    pub(super) fn take_pipes(
        &mut self,
    ) -> (Option<ChildStdin>, Option<ChildStdout>, Option<ChildStderr>) {
        let Some(child) = &mut self.child else {
            return (None, None, None);
        };
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    }

    fn pid(&self) -> Option<Pid> {
        let child = self.child.as_ref()?;
        i32::try_from(child.id()).ok().and_then(Pid::from_raw)
    }

    pub(super) fn kill(&self) {
        if let Some(pid) = self.pid() {
            // Errors say that nobody is left whom this process may kill.
            let _ = kill_process_group(pid, Signal::KILL);
            // The child itself may have moved to another group.
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// How the child ended, if it has; what it left in its group is killed then.
    pub(super) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        let Some(pid) = self.pid() else {
            return Ok(None);
        };
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(pid), look) {
            Ok(None) => return Ok(None),
            Ok(Some(_)) => {}
            Err(why) => {
                // Somebody else reaped it: its number may be another's by now, so it is not signalled any more.
                self.child = None;
                return Err(why.into());
            }
        }
        self.kill();
        let status = match &mut self.child {
            Some(child) => child.wait()?,
            None => return Ok(None),
        };
        self.child = None;
        Ok(Some(status))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        let Some(mut child) = self.child.take() else {
            return;
        };
        if let (Ok(None), Ok(keeper)) = (child.try_wait(), keeper()) {
            let _ = keeper.send(Order::Bury(child));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::os::unix::process::ExitStatusExt;

    use rustix::process::{WaitOptions, waitpid};

    use super::*;

    fn ended(group: &mut Group) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = group.ended()? {
                return Ok(status);
            }
            thread::yield_now();
        }
    }

    #[test]
    fn a_child_that_left_its_group_is_killed_too() {
        // In the group of this process, as one that moved there.
        let child = Command::new("sleep").arg("20").spawn().unwrap();
        let mut group = Group::new(child);
        group.kill();
        assert_eq!(ended(&mut group).unwrap().signal(), Some(9));
    }

    #[test]
    fn a_number_that_somebody_else_freed_is_not_signalled() {
        let child = Command::new("true").process_group(0).spawn().unwrap();
        let mut group = Group::new(child);
        waitpid(group.pid(), WaitOptions::empty()).unwrap();
        assert!(ended(&mut group).is_err());
        assert!(group.pid().is_none());
    }
}
