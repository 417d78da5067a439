//! It locks down the program that it starts: `nothing`, in the same folder.

use birdcage::process::Command;
use birdcage::{Birdcage, Exception, Sandbox};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let program = std::env::current_exe()?.with_file_name("nothing");
    let mut cage = Birdcage::new();
    cage.add_exception(Exception::ExecuteAndRead(program.clone()))?;
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1));
    let status = cage.spawn(command)?.wait()?;
    std::process::exit(status.code().unwrap_or(1))
}
