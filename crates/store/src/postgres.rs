//! The home for N servers: PostgreSQL (`design.md` 4, `libraries.md` 2.3).

mod barriers;
mod catalog;
mod constraints;
mod db;
mod delegates;
mod executions;
mod guards;
mod history;
mod inbox;
mod journal;
mod leases;
mod legs;
mod lists;
mod locks;
mod records;
mod rows;
mod secrets;
mod tasks;
mod timers;
mod writing;

use crate::values::{count, from_json, int, misuse, small, to_json};
