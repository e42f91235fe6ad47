--[[
stock/restore: hold the units of orders as the orders database knows them, each once, while the sale is being seeded.

KEYS[1]    stock:{SALE:PARTITION}:meta       hash   epoch, version, state, writes
KEYS[2]    stock:{SALE:PARTITION}:units      hash   I<sku> "price total limit", L<sku> left (absent: total), S<sku> sold,
                                                    G<sku> releases
KEYS[3]    stock:{SALE:PARTITION}:buyers     hash   "sku buyer" -> units held, for SKUs with a limit
KEYS[4..]  stock:{SALE:PARTITION}:held:SKU   hash   order id -> "STATE units expires_ms buyer", one a SKU of the batch
ARGV[1]    epoch
ARGV[2]    msgpack: a list of {order_id, sku, buyer, units, which of KEYS[4..] (from 1), "S" sold or "X" released}
           at most 1000

Returns  how many are new here; an order that is here already stays as it is
Errors   STALE epoch, NOTSEEDING state, TOOMANY   nothing was changed
Cost     O(orders), bounded by 1000: two reads and at most four writes each

A shard may come out below zero: its buyers were sold units that it had borrowed from its siblings, which have them now.
]]
local meta, units_key, buyers, epoch = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
local found = redis.call("HMGET", meta, "epoch", "state")
if found[1] ~= epoch then return redis.error_reply("STALE " .. (found[1] or "none")) end
if found[2] ~= "seeding" then return redis.error_reply("NOTSEEDING " .. (found[2] or "none")) end
local rows = cmsgpack.unpack(ARGV[2])
if #rows > 1000 then return redis.error_reply("TOOMANY " .. #rows) end
local new = 0
for i = 1, #rows do
  local id, sku, buyer, units, state = rows[i][1], rows[i][2], rows[i][3], rows[i][4], rows[i][6]
  if redis.call("HSETNX", KEYS[3 + rows[i][5]], id, state .. " " .. units .. " 0 " .. buyer) == 1 then
    new = new + 1
    if state == "S" then
      local row = redis.call("HMGET", units_key, "L" .. sku, "I" .. sku)
      local total, limit = string.match(row[2] or "", "^%d+ (%d+) (%d+)$")
      redis.call("HSET", units_key, "L" .. sku, tonumber(row[1] or total or 0) - units)
      redis.call("HINCRBY", units_key, "S" .. sku, units)
      if limit and limit ~= "0" then redis.call("HINCRBY", buyers, sku .. " " .. buyer, units) end
    else
      redis.call("HINCRBY", units_key, "G" .. sku, 0) -- there, so that whoever lists what was held looks here
    end
  end
end
if new > 0 then redis.call("HINCRBY", meta, "writes", 1) end
return new
