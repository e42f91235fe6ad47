--[[
stock/settle: the borrower has its units, the loan is over.

KEYS[1]  stock:{SALE:PARTITION}:meta    hash   epoch, version, state, writes
KEYS[2]  stock:{SALE:PARTITION}:units   hash   T<sku> lent and not settled
KEYS[3]  stock:{SALE:PARTITION}:lent    hash   transfer id -> "units at_ms partition sku"
ARGV[1]  transfer id

Returns  1 settled now, 0 was settled before
Cost     O(1)
]]
local meta, units_key, lent = KEYS[1], KEYS[2], KEYS[3]
local loan = redis.call("HGET", lent, ARGV[1])
if not loan then return 0 end
local units, sku = string.match(loan, "^(%d+) %d+ %d+ (.*)$")
redis.call("HDEL", lent, ARGV[1])
redis.call("HINCRBY", units_key, "T" .. sku, -units)
redis.call("HINCRBY", meta, "writes", 1)
return 1
