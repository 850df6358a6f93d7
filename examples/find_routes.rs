//! Finds the route of one path several times among 200 routes, for a count of instructions.
//!
//! `benches/guard` runs it under callgrind: the difference between two numbers of times excludes
//! the start of the process and the parsing of the routes.
//!
//! ```text
//! find_routes CASE TIMES
//! ```

#[path = "../benches/api_routes/mod.rs"]
mod api_routes;

use std::error::Error;
use std::hint::black_box;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(case), Some(times)) = (arguments.next(), arguments.next()) else {
        return Err("usage: find_routes CASE TIMES".into());
    };
    let path = api_routes::PATHS.iter().find(|(name, _)| *name == case).ok_or("no such case")?.1;
    let table = api_routes::table().ok_or("the routes are invalid")?;
    for _ in 0..times.parse::<usize>()? {
        black_box(api_routes::find(&table, black_box(path)));
    }
    Ok(())
}
