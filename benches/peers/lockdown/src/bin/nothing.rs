fn main() {
    lockdown::work(true)
}
