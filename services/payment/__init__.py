"""Payment: charges durable orders once each and hands the paid ones to shipping."""
