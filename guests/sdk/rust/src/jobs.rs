//! Jobs, which the scheduler sends to this application later.

use crate::app::any;
use crate::proto::{fields, Malformed, Writer};
use crate::request::methods::{DeleteJob, GetJob, ScheduleJob};
use crate::{Request, Result};

/// A job, by its name.
pub fn job(name: &str) -> Job<'_> {
    Job { name }
}

/// See [`job`].
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    name: &'a str,
}

impl Job<'_> {
    /// Lets it run again and again: `@every 1m`, `@daily`, or a cron expression with seconds.
    pub fn every(&self, schedule: &str) -> Request<ScheduleJob> {
        self.scheduled(Writer::new().text(2, schedule))
    }

    /// Lets it run once: after a time (`30s`), or at one (RFC 3339).
    pub fn once(&self, due: &str) -> Request<ScheduleJob> {
        self.scheduled(Writer::new().text(4, due))
    }

    /// How it is scheduled.
    pub fn get(&self) -> Request<GetJob> {
        Request::new("GetJob", Writer::new().text(1, self.name))
    }

    /// Takes it out.
    pub fn delete(&self) -> Request<DeleteJob> {
        Request::new("DeleteJob", Writer::new().text(1, self.name))
    }

    fn scheduled(&self, when: Writer) -> Request<ScheduleJob> {
        let mut job = Writer::new().text(1, self.name).done();
        job.extend(when.done());
        Request::new("ScheduleJob", Writer::new().bytes(1, &job))
    }
}

impl Request<ScheduleJob> {
    /// What the job's event has as its body.
    pub fn data(self, data: impl AsRef<[u8]>) -> Self {
        self.job(Writer::new().message(6, Writer::new().bytes(2, data.as_ref())))
    }

    /// How often it runs at most.
    pub fn repeats(self, count: u32) -> Self {
        self.job(Writer::new().number(3, count.into()))
    }

    /// When a job that repeats begins: after a time, or at one.
    pub fn starting(self, due: &str) -> Self {
        self.job(Writer::new().text(4, due))
    }

    /// When it ends for good: after a time, or at one.
    pub fn ttl(self, ttl: &str) -> Self {
        self.job(Writer::new().text(5, ttl))
    }

    /// Takes the place of a job with the same name.
    pub fn overwrite(self) -> Self {
        self.with(|message| message.number(2, 1))
    }

    fn job(self, more: Writer) -> Self {
        self.with(|message| message.message(1, more))
    }
}

/// How a job is scheduled. What was not said is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobDetails {
    /// When it runs.
    pub schedule: String,
    /// When it runs once, or begins.
    pub due: String,
    /// When it ends.
    pub ttl: String,
    /// How often it runs at most.
    pub repeats: Option<u32>,
    /// Its data.
    pub data: Vec<u8>,
}

pub(crate) fn read(message: Vec<u8>) -> Result<JobDetails, Malformed> {
    let mut details = JobDetails::default();
    for field in fields(&message) {
        let field = field?;
        if field.number == 1 {
            read_job(field.bytes()?, &mut details)?;
        }
    }
    Ok(details)
}

fn read_job(message: &[u8], details: &mut JobDetails) -> Result<(), Malformed> {
    for field in fields(message) {
        let field = field?;
        match field.number {
            2 => details.schedule = field.text()?,
            3 => details.repeats = Some(u32::try_from(field.number()?).map_err(|_| Malformed)?),
            4 => details.due = field.text()?,
            5 => details.ttl = field.text()?,
            6 => details.data = any(field.bytes()?)?,
            _ => {}
        }
    }
    Ok(())
}
