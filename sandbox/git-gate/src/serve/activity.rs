//! When a byte of a connection moved last, and when the connection has to be cut for it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

/// The clock of one connection, in milliseconds since it began.
pub(super) struct Activity {
    began: Instant,
    idle: Duration,
    session: Duration,
    moved: AtomicU64,
    /// Until then silence is the gate's own doing.
    excused: AtomicU64,
}

impl Activity {
    pub(super) fn begin(idle: Duration, session: Duration) -> Arc<Activity> {
        let zero = AtomicU64::new(0);
        Arc::new(Activity {
            began: Instant::now(),
            idle,
            session,
            moved: zero,
            excused: AtomicU64::new(0),
        })
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn note(&self) {
        self.moved.store(self.elapsed(), Ordering::Relaxed);
    }

    /// The gate works for the client, and will not be heard for so long.
    pub(super) fn excuse(&self, longest: Duration) {
        let longest = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        self.excused.store(self.elapsed().saturating_add(longest), Ordering::Relaxed);
    }

    /// It has done its work.
    pub(super) fn end_excuse(&self) {
        self.excused.store(0, Ordering::Relaxed);
        self.note();
    }

    /// When it is over if no byte moves.
    fn deadline(&self) -> Instant {
        let moved = Duration::from_millis(self.moved.load(Ordering::Relaxed)) + self.idle;
        let excused = Duration::from_millis(self.excused.load(Ordering::Relaxed));
        self.began + moved.max(excused).min(self.session)
    }

    /// Waits until the connection has to be cut; says why.
    pub(super) async fn expired(&self) -> &'static str {
        loop {
            // The deadline may come nearer meanwhile, when an excuse ends.
            let again = Instant::now() + self.idle;
            sleep_until(self.deadline().min(again)).await;
            if self.began.elapsed() >= self.session {
                return "session-timeout";
            }
            if self.deadline() <= Instant::now() {
                return "idle-timeout";
            }
        }
    }
}

/// A connection whose moves are noted.
pub(super) struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, activity: Arc<Activity>) -> Watched<S> {
        Watched { stream, activity }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        self.activity.note();
        Poll::Ready(result)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.stream).poll_write(context, bytes));
        self.activity.note();
        Poll::Ready(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn cut_after(activity: &Activity) -> Duration {
        activity.deadline() - activity.began
    }

    #[test]
    fn silence_cuts_unless_it_is_ours_and_nothing_outlives_the_session() {
        let activity = Activity::begin(60 * SECOND, 100 * SECOND);
        assert_eq!(cut_after(&activity), 60 * SECOND);
        activity.moved.store(30_000, Ordering::Relaxed);
        assert_eq!(cut_after(&activity), 90 * SECOND);
        activity.moved.store(50_000, Ordering::Relaxed);
        assert_eq!(cut_after(&activity), 100 * SECOND);
        activity.moved.store(0, Ordering::Relaxed);
        activity.excuse(80 * SECOND);
        assert!(cut_after(&activity) >= 80 * SECOND);
        activity.excuse(200 * SECOND);
        assert_eq!(cut_after(&activity), 100 * SECOND);
        activity.end_excuse();
        assert!(cut_after(&activity) < 61 * SECOND);
    }
}
