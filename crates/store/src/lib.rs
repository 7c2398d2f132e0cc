//! Recent (today in memory), history (Delta Lake) and SQL over both.
